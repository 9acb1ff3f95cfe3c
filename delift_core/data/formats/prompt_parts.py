"""The prompt of a flat record: one column, the columns that are appended to it, and a history of earlier turns.

The parts are appended with a blank line between them, in the order of `PARTS`. A history becomes turns before the
prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from delift_core.data.formats.base import PART_SEPARATOR, RecordError, describe, is_missing, require_text
from delift_core.data.formats.training_labels import normalized_name
from delift_core.data.formats.turns import is_turn_list, parse_turns
from delift_core.samples import Message

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
        if is_missing(record.get(name)) or record[name] in ("", [], {}, ()):
            continue
        value = record[name]
        if normalized_name(name) in _HISTORIES and isinstance(value, list | tuple):
            earlier += _history(value, name)
        elif not isinstance(value, str):
            raise _not_text_part(value, name)
        elif value.strip():
            texts.append(value)
    main = "" if is_missing(record.get(prompt)) and texts else require_text(record.get(prompt), prompt)
    whole = PART_SEPARATOR.join([main, *texts] if main.strip() or not texts else texts)
    return [*earlier, Message("user", whole)]


def _not_text_part(value: object, name: str) -> RecordError:
    what = f"the value is {describe(value)}, not text, and may be a part of the prompt"
    remedy = "Write it as text, or name the columns to read: --map prompt=COL,response=COL."
    return RecordError("not-text", name, what, remedy)


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
        return parse_turns(history, name, has_response=False)
    remedy = "Give the history as a list of [question, answer] pairs."
    messages = []
    for index, pair in enumerate(history):
        where = f"{name}[{index}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RecordError("not-text", where, "the entry is not a [question, answer] pair", remedy)
        messages.append(Message("user", require_text(pair[0], f"{where}[0]")))
        messages.append(Message("assistant", require_text(pair[1], f"{where}[1]")))
    return messages
