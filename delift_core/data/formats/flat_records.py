"""Records whose prompt and response are fields of their own: pairs of columns, Alpaca and Dolly, and plain text.

The prompt is one column, then the columns that are appended to it with a blank line between them, in the order of
`PARTS`; a history of earlier turns becomes turns before the prompt. A plain text is split into an opening (the prompt)
and a continuation (the response) at the first whitespace after its middle: a utility is then how much likelier another
text makes the continuation. All `parse` functions raise a `RecordError` where a field is missing or not text, or the
prompt or the response is blank.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from delift_core.data.formats.base import (
    PART_SEPARATOR,
    SYSTEM_KEYS,
    RecordError,
    describe,
    end_at_response,
    has_fields,
    is_missing,
    missing_field_error,
    name_list,
    optional_text,
    require_text,
)
from delift_core.data.formats.chat_text import starts_with_marker
from delift_core.data.formats.training_labels import normalized_name
from delift_core.data.formats.turns import add_system, is_turn_list, parse_turns, record_system_text
from delift_core.samples import ColumnMapping, Message

# The first pair whose columns both exist is used. Letter case is ignored.
PAIRS = (
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "generation"),
    ("prompt", "answer"),
    ("instruction", "response"),
    *((prompt, "output") for prompt in ("instruction", "prompt", "question", "query", "problem")),
    *((prompt, "completion") for prompt in ("instruction", "prompt", "question", "query", "input")),
    *((prompt, "answer") for prompt in ("instruction", "problem", "input")),
    ("problem", "response"),
    ("input", "output"),
    ("input", "response"),
    ("inputs", "targets"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
)


def detect_columns(record: object) -> ColumnMapping | None:
    """The mapping for the first known pair of columns in a record (question/answer and the like), or None.

    If the record also has an instruction, that is the prompt, and the pair's prompt is appended to it.
    """
    if not isinstance(record, Mapping):
        return None
    names: dict[str, str] = {}
    for name in record:
        names.setdefault(str(name).lower(), name)
    pairs = ([names[word] for word in pair] for pair in PAIRS if names.keys() >= set(pair))
    pair = next((pair for pair in pairs if has_fields(record, pair)), None)
    if pair is None:
        return None
    prompt, response = pair
    instruction = record.get(names.get("instruction", ""))
    if isinstance(instruction, str) and instruction.strip():
        prompt = names["instruction"]
    system = next((names[column] for column in SYSTEM_KEYS if column in names), None)
    return ColumnMapping(prompt, response, system, part_columns(record, prompt, response))


def parse_columns(record: Mapping[str, object], mapping: ColumnMapping) -> tuple[Message, ...]:
    """Reads the mapped columns of a record."""
    for column in (mapping.prompt, mapping.response):
        if column not in record:
            what = f"the record has no such column (found: {name_list(record)})"
            raise RecordError("unknown-format", column, what, "Map a column that the record has.")
    turns, field = _prompt_and_response(record, mapping.prompt, mapping.parts, mapping.response)
    system = optional_text(record.get(mapping.system), mapping.system) if mapping.system is not None else None
    return end_at_response(add_system(system, turns), field)


def detect_alpaca(record: Mapping[str, object]) -> bool:
    """Whether a record has the fields of Alpaca or of Dolly (instruction, context, response)."""
    return has_fields(record, ("instruction", "output")) or ("instruction" in record and _is_dolly(record))


def parse_alpaca(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads an Alpaca record: system, history, the joined prompt, then the output."""
    response = response_key(record)
    for key in ("instruction", response):
        if key not in record:
            raise missing_field_error(key, "an Alpaca record")
    # A null instruction is read as an empty one: the input may be the whole prompt.
    filled = {**record, "instruction": ""} if is_missing(record["instruction"]) else record
    parts = part_columns(record, "instruction", response)
    turns, field = _prompt_and_response(filled, "instruction", parts, response)
    return end_at_response(add_system(record_system_text(record), turns), field)


def response_key(record: Mapping[str, object]) -> str:
    """The name of an Alpaca or Dolly record's column with the response."""
    return "response" if _is_dolly(record) else "output"


def render_alpaca(messages: Sequence[Message]) -> dict[str, object]:
    """Writes a conversation as instruction, an empty input, output, and system and history if there are any.

    Raises:
        RecordError: tool turns, a system turn that is not first, or turns that are not question and answer in turn.
    """
    system = messages[0].content if messages and messages[0].role == "system" else ""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    for index, message in enumerate(turns):
        if message.role in ("system", "tool"):
            what = f"turn {index + 1} is a {message.role} turn, which an Alpaca record cannot hold"
            raise RecordError("unknown-role", "", what, "Export to messages or sharegpt instead.")
        if message.role != ("user", "assistant")[index % 2]:
            what = "an Alpaca record holds questions and answers in turn, and these turns do not alternate"
            raise RecordError("unknown-format", "", what, "Export to messages or sharegpt instead.")
    if not turns or len(turns) % 2:
        what = "the conversation does not end with an answer to a question"
        raise RecordError("no-assistant-turn", "", what, "Add the assistant turn, or remove the row.")
    record: dict[str, object] = {"instruction": turns[-2].content, "input": "", "output": turns[-1].content}
    if system:
        record["system"] = system
    if len(turns) > 2:
        record["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 2, 2)]
    return record


def _is_dolly(record: Mapping[str, object]) -> bool:
    absent = all(is_missing(record.get(key)) for key in ("input", "output"))
    return "context" in record and "response" in record and absent


def _prompt_and_response(
    record: Mapping[str, object], prompt: str, parts: Sequence[str], response: str
) -> tuple[list[Message], str]:
    """The turns without a system text, and the field to name if they cannot be used."""
    turns = prompt_turns(record, prompt, parts)
    field = response if turns[-1].content.strip() else prompt
    return [*turns, Message("assistant", require_text(record[response], response))], field


# Columns that belong to the prompt; names are compared without case, spaces and underscores.
_QUESTIONS = ("question", "query", "problem")  # only if the prompt is an instruction
_TEXTS = (
    "input inputs userinput context contexts ctx additionalcontext passage passages paragraph paragraphs article "
    "document documents background backgroundinfo backgroundinformation knowledge evidence facts excerpt snippet "
    "premise story scenario situation table schema tableschema dbschema databaseschema dialogue dialog transcript "
    "persona sourcetext referencetext grounding retrieved retrievedcontext retrieveddocuments searchresults "
    "constraints hint hints choices options"
)
_HISTORIES = ("history", "chathistory", "conversationhistory", "dialoguehistory", "previousturns")
PARTS = (*_QUESTIONS, *_TEXTS.split(), *_HISTORIES)
_RANK = {name: rank for rank, name in enumerate(PARTS)}
_MIN_WORDS = 3  # a shorter text may occur in another by chance


def part_columns(record: Mapping[str, object], prompt: str, response: str) -> tuple[str, ...]:
    """The columns that are appended to a record's prompt, in order.

    A column whose text is already in the prompt, or that repeats the prompt, is left out.

    Args:
        prompt, response: names of these columns.
    """
    names = _candidate_columns(tuple(record), prompt, response)
    return tuple(name for name in names if not _is_repeated(record, name, prompt, response))


@lru_cache(maxsize=1024)
def _candidate_columns(names: tuple[str, ...], prompt: str, response: str) -> tuple[str, ...]:
    known = {*_RANK} if normalized_name(prompt) == "instruction" else {*_RANK} - {*_QUESTIONS}
    return sort_parts(name for name in names if name not in (prompt, response) and normalized_name(name) in known)


def sort_parts(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts columns of a prompt into the order in which they are joined."""
    return tuple(sorted(names, key=lambda name: _RANK[normalized_name(name)]))


def prompt_turns(record: Mapping[str, object], prompt: str, parts: Sequence[str]) -> list[Message]:
    """The turns before the response, without a system text: a history, then the prompt with its parts.

    The prompt may be missing if a part has a text.

    Raises:
        RecordError: the prompt or one of its parts is not text.
    """
    earlier: list[Message] = []
    texts: list[str] = []
    for name in parts:
        value = record.get(name)
        if is_missing(value) or value in ("", [], {}, ()):
            continue
        if normalized_name(name) in _HISTORIES and isinstance(value, list | tuple):
            earlier += _history(value, name)
        elif not isinstance(value, str):
            what = f"the value is {describe(value)}, not text, and may be a part of the prompt"
            remedy = "Write it as text, or name the columns to read: --map prompt=COL,response=COL."
            raise RecordError("not-text", name, what, remedy)
        elif value.strip():
            texts.append(value)
    main = "" if is_missing(record.get(prompt)) and texts else require_text(record.get(prompt), prompt)
    whole = PART_SEPARATOR.join([main, *texts] if main.strip() or not texts else texts)
    return [*earlier, Message("user", whole)]


def _is_repeated(record: Mapping[str, object], name: str, prompt: str, response: str) -> bool:
    beside_instruction = normalized_name(name) == "context" and normalized_name(prompt) == "instruction"  # Dolly's
    if normalized_name(name) == "input" or beside_instruction:
        return False
    part, main, answer = (_collapse_spaces(record.get(key)) for key in (name, prompt, response))
    if not part or not main:
        return False
    if len(part.split()) >= _MIN_WORDS and part in main:
        return True
    if main not in part or len(main.split()) < _MIN_WORDS:
        return part == main
    return normalized_name(name) in _QUESTIONS or bool(answer and answer in part)


def _collapse_spaces(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _history(history: Iterable[object], name: str) -> list[Message]:
    """Reads earlier turns, or pairs of a question and its answer."""
    if is_turn_list(history):
        return parse_turns(history, name)
    messages = []
    for index, pair in enumerate(history):
        where = f"{name}[{index}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            remedy = "Give the history as a list of [question, answer] pairs."
            raise RecordError("not-text", where, "the entry is not a [question, answer] pair", remedy)
        messages.append(Message("user", require_text(pair[0], f"{where}[0]")))
        messages.append(Message("assistant", require_text(pair[1], f"{where}[1]")))
    return messages


# Fields that show a record with a text to be of another kind: a message, an example of a task, an annotation.
_TELLING_NAMES = re.compile(
    r"role|speaker|sender|from|user|username|(?:parent|message|reply|dialog|dialogue|conversation|conv|thread|session|chat"
    r"|turn|utterance|replied_to|in_reply_to|reply_to).*|turns?|labels?|label_.*|.*_labels?|class(?:es|_.*)?|target.*"
    r"|category_id|sentiment.*|emotions?|intents?|stars|polarity|stance|hypothesis|premise|text_?[ab12]|sentence.*"
    r"|summary|headline|translations?|translated.*|source_lang.*|target_lang.*|src|tgt|embeddings?|vectors?|.*_embedding"
    r"|tokens|entities|spans?|tags|ner.*|pos|annotations?|answers?|questions?|responses?|completion|output|prompt"
    r"|instruction|rewrite|paraphrase|correction|corrected|[a-z]{2}(?:_[a-z]{2})?",
    re.IGNORECASE,
)
# Names of two letters that are not a language.
_NOT_LANGUAGES = ("id", "ix", "no", "nr", "ts")
_NUMBERS = 8  # a list of at least so many numbers is a vector
_GAP = re.compile(r"\s+(?=\S)")


def detect_text(record: Mapping[str, object]) -> bool:
    """Whether a record has a text under `text`, and no field shows that it is of another kind."""
    text = record.get("text")
    return isinstance(text, str) and telling_field(record) is None and not starts_with_marker(text)


def telling_field(record: Mapping[str, object]) -> str | None:
    """The field that shows a record with a text to be of another kind, if there is one."""
    if not isinstance(record.get("text"), str):
        return None
    return next((str(key) for key, value in record.items() if key != "text" and _tells_kind(str(key), value)), None)


def _tells_kind(key: str, value: object) -> bool:
    if value in (None, "", [], {}):
        return key in ("parent_id", "role")  # the first message of a thread has no parent
    if isinstance(value, list) and len(value) >= _NUMBERS and all(isinstance(one, int | float) for one in value):
        return True
    return key not in _NOT_LANGUAGES and _TELLING_NAMES.fullmatch(key) is not None


def parse_text(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Splits a text into a prompt (with the whitespace at its end) and a response; together they are the whole text."""
    if "text" not in record:
        raise missing_field_error("text", "a plain text")
    text = require_text(record["text"], "text")
    start = len(text) - len(text.lstrip())
    gap = _GAP.search(text, max(start, len(text) // 2))
    if gap is None:  # the text ends with a long word: take the last whitespace
        gap = max(_GAP.finditer(text, start), key=re.Match.start, default=None)
    if gap is None:
        what = "the text is one word or none, so that it has no continuation"
        raise RecordError("empty-response", "text", what, "Give a longer text, or remove the record.")
    return end_at_response((Message("user", text[: gap.end()]), Message("assistant", text[gap.end() :])), "text")
