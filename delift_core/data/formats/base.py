"""What all formats share: the words of instruction data sets, the error of a record, checks of its fields, and the rule
which turn is scored."""

import math
from collections.abc import Iterable, Mapping, Sequence

from delift_core.errors import DataError
from delift_core.samples import Message, ProblemKind, Role

_ROLE_WORDS: dict[Role, str] = {
    "system": "system developer systemmessage",
    "user": "user human instruction prompter customer client end_user humanmessage",
    # A function call is written by the model, so it is an assistant turn; its result is a tool turn.
    "assistant": "assistant ai ai_assistant chatbot agent llm claude gpt4 gpt-4 gpt chatgpt bard bing bot model "
    "function_call tool_call functioncall toolcall aimessage",
    "tool": "tool function observation tool_response tool_result tool_results function_response ipython toolmessage "
    "functionmessage",
}
ROLES: dict[str, Role] = {word: role for role, words in _ROLE_WORDS.items() for word in words.split()}
ROLES["function response"] = "tool"  # Glaive

# Keys of a list of turns that trainers read, in the order in which they are tried.
LIST_KEYS = ("messages", "conversations", "conversation", "items")
# Other formats use these keys too, so a list of turns is looked for under them only if no other format fits.
MORE_LIST_KEYS = (
    *("dialog", "dialogue", "dialogs", "dialogues", "chat", "chat_messages", "chat_history", "conversation_history"),
    *("message_history", "history", "contents", "utterances", "turns", "thread", "transcript", "trajectory", "data"),
)
# Keys of a list of strings that alternate between user and assistant.
STRING_LIST_KEYS = (
    *("messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "chat", "utterances", "data"),
)
# Keys of an object inside the record that holds the list of turns.
NESTED_KEYS = ("body", "params", "request", "conversation", "chat", "data", "record", "row", "example")
# Keys of a text that may be written in a chat template.
CHAT_TEXT_KEYS = (
    *("text", "chat", "conversation", "conversations", "dialog", "dialogue", "messages", "transcript", "prompt"),
)
SYSTEM_KEYS = ("system", "system_prompt", "system_message", "system_instruction")
# The keys that are tried for conversations outside the formats that trainers read, in their order.
MORE_SYSTEM_KEYS = (
    *("system", "system_prompt", "systemInstruction", "system_instruction", "preamble", "system_message"),
)
# Keys of a prompt beside two answers to choose from.
PROMPT_KEYS = ("prompt", "instruction", "question", "query", "input")

# Keys of one turn.
ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
SPEAKER_KEYS = ("sender", "author", "speaker", "type")
MORE_TEXT_KEYS = ("text", "message", "utterance", "parts")
PAIR_KEYS = ("human", "user")  # beside "assistant", in a turn that is a question with its answer
CALL_KEYS = ("tool_calls", "function_call")
# Role words of a turn whose text is a tool call as JSON.
CALL_WORDS = ("function_call", "tool_call", "functioncall", "toolcall")
CALL_ID_KEYS = ("tool_call_id", "call_id")
# Keys of a turn's thoughts, in the order in which they are tried. Letter case is ignored.
THOUGHT_KEYS = (
    *("reasoning_content", "reasoning", "thinking", "thinking_content", "thought", "thoughts", "think", "cot"),
    *("complex_cot", "chain_of_thought", "rationale", "scratchpad", "reasoning_trace", "thinking_trajectories"),
)
# Keys that can only be the thoughts before the answer of a record with a prompt and a response.
ANSWER_THOUGHT_KEYS = ("reasoning_content", "thinking_content", "thinking", "reasoning_trace", "complex_cot")


def known_role(word: object) -> Role | None:
    """The role that a role word stands for, in any letter case; None for an unknown word."""
    return ROLES.get(word.strip().lower()) if isinstance(word, str) else None


def turn_role(turn: object) -> Role | None:
    """The role of a turn spelt role/content or from/value; None if it names no known role."""
    return known_role(turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None


LocatedTurn = tuple[str, object]
"""The path of a turn in its record, and the turn as decoded from JSON."""


class RecordError(DataError):
    """One record cannot be parsed or rendered; the caller adds the file and the line.

    Attributes:
        kind: the class of the problem.
        field: path of the field, such as "conversations[2].value"; empty for the whole record.
        message: what is wrong, without a full stop.
        remedy: what to do, a whole sentence.
    """

    def __init__(self, kind: ProblemKind, field: str, message: str, remedy: str) -> None:
        super().__init__((f"field {field!r}: " if field else "") + f"{message}. {remedy}")
        self.kind = kind
        self.field = field
        self.message = message
        self.remedy = remedy


PART_SEPARATOR = "\n\n"  # between the parts of a prompt


def is_missing(value: object) -> bool:
    """Whether a value is null, or the NaN that tables and pandas write for null."""
    return value is None or (type(value) is float and math.isnan(value))


def has_fields(record: Mapping[str, object], keys: Iterable[str]) -> bool:
    """Whether a record has all of the fields and at least one holds a value (tables fill absent fields with null)."""
    keys = tuple(keys)
    return all(key in record for key in keys) and not all(is_missing(record[key]) for key in keys)


def require_text(value: object, field: str) -> str:
    """Returns a text; raises a "not-text" `RecordError` for any other value."""
    if isinstance(value, str):
        return value
    raise not_text_error(value, field)


def optional_text(value: object, field: str) -> str | None:
    """Returns a text, or None if it is missing or blank; raises a "not-text" `RecordError` for any other value."""
    text = "" if is_missing(value) else require_text(value, field)
    return text if text.strip() else None


def not_text_error(value: object, field: str) -> RecordError:
    """Builds the "not-text" error for a value."""
    remedy = "Write the value as a JSON string (in quotes), or map another column."
    return RecordError("not-text", field, f"the value is {describe(value)}, not text", remedy)


def missing_field_error(field: str, format_words: str) -> RecordError:
    """Builds the error for a record without a field that its format requires."""
    message = f"the field is missing, and {format_words} needs it"
    return RecordError("unknown-format", field, message, "Add the field, or choose another format or column mapping.")


def describe(value: object) -> str:
    """Returns the name of a value's JSON type, for messages."""
    if is_missing(value):
        return "null" if value is None else "NaN (missing)"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"of type {type(value).__name__}"


def name_list(names: Iterable[object], limit: int = 12) -> str:
    """Joins the first `limit` names for a one-line message; "none" for an empty list."""
    # A name with bytes that are not UTF-8 holds lone surrogates, which cannot be printed.
    words = [" ".join(str(name).encode("utf-8", "replace").decode("utf-8").split())[:60] for name in names]
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return (", ".join(words[:limit]) or "none") + more


def require_role(word: object, field: str) -> Role:
    """Returns the role that a role word stands for; raises an "unknown-role" `RecordError` for an unknown word."""
    role = known_role(require_text(word, field))
    if role is not None:
        return role
    remedy = "Rename the role to one of system, user, assistant, tool."
    raise RecordError("unknown-role", field, f"the role {word!r} is not known", remedy)


def end_at_response(messages: Sequence[Message], field: str) -> tuple[Message, ...]:
    """Cuts a conversation after its last trained assistant turn, the response that is scored.

    Args:
        messages: all turns in order.
        field: the field that holds the conversation or the response, for errors.

    Raises:
        RecordError: no assistant turn, none that is trained, a blank response, or no user text before the response.
    """
    answers = (i for i, message in enumerate(messages) if message.role == "assistant" and message.trained)
    last = max(answers, default=None)
    if last is None and any(message.role == "assistant" for message in messages):
        remedy = "Mark the answer to learn as trained, or remove the record."
        what = "every assistant turn is marked as not to be trained"
        raise RecordError("not-trained", field, what, remedy)
    if last is None:
        raise RecordError(
            "no-assistant-turn", field, "no turn is by the assistant", "Add the answer to learn as an assistant turn."
        )
    if not messages[last].content.strip():
        remedy = "Write the answer, or remove the record: it holds nothing to learn."
        raise RecordError("empty-response", field, "the response (the last assistant turn) is empty", remedy)
    if not any(message.role == "user" and message.content.strip() for message in messages[:last]):
        remedy = "Add the user's question before the answer, or remove the record."
        raise RecordError("empty-prompt", field, "there is no user text before the response", remedy)
    return tuple(messages[: last + 1])
