"""Flat records with a column for the prompt and one for the response, such as question/answer."""

from collections.abc import Mapping

from delift_core.data.formats.base import (
    RecordError,
    end_at_response,
    has_fields,
    name_list,
    optional_text,
    require_text,
)
from delift_core.data.formats.prompt_parts import part_columns, prompt_turns
from delift_core.data.formats.turns import add_system
from delift_core.data.formats.vocabulary import SYSTEM_KEYS
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


def detect(record: Mapping[str, object]) -> ColumnMapping | None:
    """Returns the mapping for the first known pair of columns in a record, or None.

    If the record also has an instruction, that is the prompt, and the pair's prompt is appended to it.
    """
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


def parse(record: Mapping[str, object], mapping: ColumnMapping) -> tuple[Message, ...]:
    """Reads the mapped columns of a record.

    Raises:
        RecordError: a mapped column is missing or not text, or the prompt or the response is blank.
    """
    for column in (mapping.prompt, mapping.response):
        if column not in record:
            what = f"the record has no such column (found: {name_list(record)})"
            raise RecordError("unknown-format", column, what, "Map a column that the record has.")
    turns = prompt_turns(record, mapping.prompt, mapping.parts)
    messages = [*turns, Message("assistant", require_text(record[mapping.response], mapping.response))]
    system = optional_text(record.get(mapping.system), mapping.system) if mapping.system is not None else None
    field = mapping.response if turns[-1].content.strip() else mapping.prompt
    return end_at_response(add_system(system, messages), field)
