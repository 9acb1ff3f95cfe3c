"""Two named columns of a table (prompt and response, perhaps a system text and a context), such as question/answer."""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import (
    SYSTEM_KEYS,
    RecordError,
    any_present,
    end_at_response,
    name_list,
    optional_text,
    require_text,
    split_system,
)
from delift_core.data.formats.prompt_parts import part_names, prompt_turns
from delift_core.data.formats.turns import with_system
from delift_core.samples import ColumnMapping, Message

# In this order: the first pair whose columns both exist is taken. Letter case is ignored.
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


def detect(record: Mapping[str, object]) -> ColumnMapping | None:
    """Returns the mapping for the first known pair of columns that the record has, or None.

    An instruction beside such a pair is the prompt, and the pair's own prompt a part of it.
    """
    names: dict[str, str] = {}
    for name in record:
        names.setdefault(str(name).lower(), name)
    pairs = ([names[word] for word in pair] for pair in PAIRS if names.keys() >= set(pair))
    pair = next((pair for pair in pairs if any_present(record, pair)), None)
    if pair is None:
        return None
    prompt, response = pair
    instruction = record.get(names.get("instruction", ""))
    if isinstance(instruction, str) and instruction.strip():
        prompt = names["instruction"]
    system = next((names[column] for column in SYSTEM_KEYS if column in names), None)
    return ColumnMapping(prompt, response, system, part_names(record, prompt, response))


def parse(record: Mapping[str, object], mapping: ColumnMapping) -> tuple[Message, ...]:
    """Reads the mapped columns of a record.

    Raises:
        RecordError: a mapped column is missing, is not text, or is blank where text is needed.
    """
    for column in (mapping.prompt, mapping.response):
        if column not in record:
            what = f"the record has no such column (found: {name_list(record)})"
            raise RecordError("unknown-format", column, what, "Map a column that the record has.")
    turns = prompt_turns(record, mapping.prompt, mapping.parts)
    messages = [*turns, Message("assistant", require_text(record[mapping.response], mapping.response))]
    system = optional_text(record.get(mapping.system), mapping.system) if mapping.system is not None else None
    return end_at_response(
        with_system(system, messages), mapping.response if turns[-1].content.strip() else mapping.prompt
    )


def render(messages: Sequence[Message], mapping: ColumnMapping) -> dict[str, object]:
    """Writes a single question and answer, with its system text, into the mapped columns.

    Raises:
        RecordError: more than one question and answer, a tool turn, or a system text without a column for it.
    """
    system, turns = split_system(messages)
    if [message.role for message in turns] != ["user", "assistant"]:
        what = "two columns hold one question and one answer, and this conversation has other turns"
        raise RecordError("unknown-format", "", what, "Export to messages or sharegpt instead.")
    if system and mapping.system is None:
        what = "the conversation has a system text and the mapping no column for it"
        raise RecordError("unknown-role", "", what, "Map a system column, or export to messages.")
    record: dict[str, object] = {mapping.system: system} if mapping.system is not None else {}
    record[mapping.prompt] = turns[0].content
    record[mapping.response] = turns[1].content
    return record
