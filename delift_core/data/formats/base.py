"""What every wire format shares: the error a record can raise, role words, text checks and the scored-turn rule.

Knows messages and fields of one record; knows nothing of files, lines or data sets.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from delift_core.errors import DataError
from delift_core.samples import Message, ProblemKind, Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "instruction": "user",
    "prompter": "user",
    "customer": "user",
    "client": "user",
    "end_user": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "ai_assistant": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "llm": "assistant",
    "claude": "assistant",
    "gpt4": "assistant",
    "gpt-4": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "bot": "assistant",
    "model": "assistant",
    # The model writes a function call itself, so it is an assistant turn; what comes back is a tool turn.
    "function_call": "assistant",
    "tool_call": "assistant",
    "functioncall": "assistant",
    "toolcall": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "tool_results": "tool",
    "function_response": "tool",
    "function response": "tool",
    "ipython": "tool",
    # LangChain's classes of messages.
    "humanmessage": "user",
    "aimessage": "assistant",
    "systemmessage": "system",
    "toolmessage": "tool",
    "functionmessage": "tool",
}


class RecordError(DataError):
    """One record cannot be parsed or rendered; the caller knows which file and line it came from.

    Attributes:
        kind: the problem class.
        field: path of the offending field, such as "conversations[2].value"; empty for the whole record.
        message: what is wrong, without a full stop.
        remedy: what to do about it, a whole sentence.
    """

    def __init__(self, kind: ProblemKind, field: str, message: str, remedy: str) -> None:
        super().__init__((f"field {field!r}: " if field else "") + f"{message}. {remedy}")
        self.kind = kind
        self.field = field
        self.message = message
        self.remedy = remedy


JOIN = "\n\n"  # between the parts of a prompt
SYSTEM_KEYS = ("system", "system_prompt", "system_message", "system_instruction")


def is_missing(value: object) -> bool:
    """Whether there is no value: null, or NaN, which tables and pandas write in its place."""
    return value is None or (type(value) is float and math.isnan(value))


def any_present(record: Mapping[str, object], keys: Iterable[str]) -> bool:
    """Whether a record has all of these fields, and a value in one of them at least: tables pad absent ones."""
    some = False
    for key in keys:
        if key not in record:
            return False
        some = some or not is_missing(record[key])
    return some


def require_text(value: object, field: str) -> str:
    """Returns a value that must be text; anything else, null included, is a "not-text" error naming the field."""
    if isinstance(value, str):
        return value
    raise not_text(value, field)


def optional_text(value: object, field: str) -> str | None:
    """Returns the text, or None where it is missing or blank; a value of another type is a "not-text" error."""
    if is_missing(value):
        return None
    text = require_text(value, field)
    return text if text.strip() else None


def not_text(value: object, field: str) -> RecordError:
    """Builds the "not-text" error for a value."""
    remedy = "Write the value as a JSON string (in quotes), or map another column."
    return RecordError("not-text", field, f"the value is {describe(value)}, not text", remedy)


def missing_field(field: str, format_words: str) -> RecordError:
    """Builds the error for a record that lacks a field its format needs."""
    message = f"the field is missing, and {format_words} needs it"
    return RecordError("unknown-format", field, message, "Add the field, or choose another format or column mapping.")


def describe(value: object) -> str:
    """Names the JSON type of a value in words that a curator uses."""
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
    """Joins field names for a one-line message, the first `limit` of them; "none" where there are none."""
    # Bytes that are not UTF-8 stand in a name as halves of surrogate pairs, which cannot be printed.
    words = [" ".join(str(name).encode("utf-8", "replace").decode("utf-8").split())[:60] for name in names]
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return (", ".join(words[:limit]) or "none") + more


def role_of(word: object, field: str) -> Role:
    """Maps a role word of any dialect to ours; an unknown word is an "unknown-role" error."""
    key = require_text(word, field).strip().lower()
    if key in ROLES:
        return ROLES[key]
    remedy = "Rename the role to one of system, user, assistant, tool."
    raise RecordError("unknown-role", field, f"the role {word!r} is not known", remedy)


def end_at_response(messages: Sequence[Message], field: str) -> tuple[Message, ...]:
    """Cuts a conversation after its last assistant turn that is to be trained, which is the turn that is scored.

    Args:
        messages: all turns in order.
        field: the field that holds the conversation (or the response), named in errors.

    Returns:
        The turns up to and including that turn; what followed it is left out.

    Raises:
        RecordError: no assistant turn, none that is to be trained, a blank response, or no user text before the
            response.
    """
    places = range(len(messages) - 1, -1, -1)
    last = next((i for i in places if messages[i].role == "assistant" and messages[i].trained), None)
    if last is None and any(message.role == "assistant" for message in messages):
        remedy = "Mark the answer to learn as trained, or remove the record: nothing in it is to be learnt."
        what = "every assistant turn is marked as not to be trained"
        raise RecordError("not-trained", field, what, remedy)
    if last is None:
        raise RecordError(
            "no-assistant-turn", field, "no turn is by the assistant", "Add the answer to learn as an assistant turn."
        )
    if not messages[last].content.strip():
        remedy = "Write the answer, or remove the record: there is nothing to learn from it."
        raise RecordError("empty-response", field, "the response (the last assistant turn) is empty", remedy)
    if not any(message.role == "user" and message.content.strip() for message in messages[:last]):
        remedy = "Add the user's question before the answer, or remove the record."
        raise RecordError("empty-prompt", field, "no user text stands before the response", remedy)
    return tuple(messages[: last + 1])


def split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """Splits a leading system turn from the rest, for formats that keep it in a field of its own ("" for none)."""
    if messages and messages[0].role == "system":
        return messages[0].content, messages[1:]
    return "", messages
