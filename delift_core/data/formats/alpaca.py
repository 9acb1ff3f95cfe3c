"""Alpaca records: instruction, input, output, and LLaMA-Factory's optional system and history.

The prompt is `instruction + "\\n\\n" + input`, then further columns (see `prompt_parts`). Dolly's instruction, context
and response are the same format.
"""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import (
    RecordError,
    end_at_response,
    has_fields,
    is_missing,
    missing_field_error,
    require_text,
    split_system,
)
from delift_core.data.formats.prompt_parts import part_columns, prompt_turns
from delift_core.data.formats.turns import add_system, record_system_text
from delift_core.samples import Message


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has the fields of Alpaca or of Dolly."""
    return has_fields(record, ("instruction", "output")) or ("instruction" in record and _is_dolly(record))


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads an Alpaca record: system, history, the joined prompt, then the output.

    Raises:
        RecordError: a field is missing or not text, or the prompt or the output is blank.
    """
    output_key = response_key(record)
    for key in ("instruction", output_key):
        if key not in record:
            raise missing_field_error(key, "an Alpaca record")
    # A null instruction is read as an empty one: the input may be the whole prompt.
    filled = {**record, "instruction": ""} if is_missing(record["instruction"]) else record
    turns = prompt_turns(filled, "instruction", part_columns(record, "instruction", output_key))
    messages = [*turns, Message("assistant", require_text(record[output_key], output_key))]
    field = output_key if turns[-1].content.strip() else "instruction"
    return end_at_response(add_system(record_system_text(record), messages), field)


def response_key(record: Mapping[str, object]) -> str:
    """The name of the column with the response."""
    return "response" if _is_dolly(record) else "output"


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes a conversation as instruction, an empty input, output, and system and history if there are any.

    Raises:
        RecordError: tool turns, a system turn that is not first, or turns that are not question and answer in turn.
    """
    system, turns = split_system(messages)
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
