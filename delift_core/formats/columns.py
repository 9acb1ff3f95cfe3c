"""Two named columns of a table (prompt and response, perhaps a system text), such as question/answer."""

from collections.abc import Mapping, Sequence

from delift_core.formats.base import RecordError, end_at_response, name_list, optional_text, require_text, split_system
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
    ("input", "output"),
    ("inputs", "targets"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
)
SYSTEM_COLUMNS = ("system", "system_prompt")


def detect(record: Mapping[str, object]) -> ColumnMapping | None:
    """Returns the mapping for the first known pair of columns that the record has, or None."""
    names: dict[str, str] = {}
    for name in record:
        names.setdefault(str(name).lower(), name)
    for prompt, response in PAIRS:
        if prompt in names and response in names:
            system = next((names[column] for column in SYSTEM_COLUMNS if column in names), None)
            return ColumnMapping(names[prompt], names[response], system)
    return None


def parse(record: Mapping[str, object], mapping: ColumnMapping) -> tuple[Message, ...]:
    """Reads the mapped columns of a record.

    Raises:
        RecordError: a mapped column is missing, is not text, or is blank where text is needed.
    """
    for column in (mapping.prompt, mapping.response):
        if column not in record:
            what = f"the record has no such column (found: {name_list(record)})"
            raise RecordError("unknown-format", column, what, "Map a column that the record has.")
    prompt = require_text(record[mapping.prompt], mapping.prompt)
    messages = [Message("user", prompt)]
    messages.append(Message("assistant", require_text(record[mapping.response], mapping.response)))
    system = optional_text(record.get(mapping.system), mapping.system) if mapping.system is not None else None
    if system is not None:
        messages.insert(0, Message("system", system))
    return end_at_response(messages, mapping.response if prompt.strip() else mapping.prompt)


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
