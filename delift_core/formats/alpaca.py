"""Alpaca records: instruction, input, output, and the optional system and history of LLaMA-Factory.

The prompt is `instruction + "\\n\\n" + input`, or the one that is not blank. Dolly's spelling (instruction, context,
response) is read as the same format.
"""

from collections.abc import Mapping, Sequence

from delift_core.formats.base import (
    RecordError,
    describe,
    end_at_response,
    missing_field,
    optional_text,
    require_text,
    split_system,
)
from delift_core.formats.turns import with_system
from delift_core.samples import Message

JOIN = "\n\n"


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has Alpaca's instruction and output, or Dolly's instruction, context and response."""
    return "instruction" in record and ("output" in record or _is_dolly(record))


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads an Alpaca record: system, then history, then the joined prompt, then the output.

    Raises:
        RecordError: a field is missing, is not text or is blank where text is needed.
    """
    input_key, output_key = ("context", "response") if _is_dolly(record) else ("input", "output")
    for key in ("instruction", output_key):
        if key not in record:
            raise missing_field(key, "an Alpaca record")
    # A null instruction is forgiven: with an input it is a prompt, without one it is an empty prompt.
    instruction = "" if record["instruction"] is None else require_text(record["instruction"], "instruction")
    extra = optional_text(record.get(input_key), input_key)
    prompt = _join(instruction, extra)
    messages = [*_parse_history(record.get("history")), Message("user", prompt)]
    messages.append(Message("assistant", require_text(record[output_key], output_key)))
    system = optional_text(record.get("system"), "system")
    return end_at_response(with_system(system, messages), output_key if prompt.strip() else "instruction")


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes a conversation as instruction, an empty input, output, and system and history where there are any.

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
        raise RecordError("no-assistant-turn", "", what, "Add the assistant turn, or leave the sample out.")
    record: dict[str, object] = {"instruction": turns[-2].content, "input": "", "output": turns[-1].content}
    if system:
        record["system"] = system
    if len(turns) > 2:
        record["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 2, 2)]
    return record


def _join(instruction: str, extra: str | None) -> str:
    if extra is None:
        return instruction
    return instruction + JOIN + extra if instruction.strip() else extra


def _is_dolly(record: Mapping[str, object]) -> bool:
    return "context" in record and "response" in record and "input" not in record and "output" not in record


def _parse_history(history: object) -> list[Message]:
    if history is None:
        return []
    remedy = "Give the history as a list of [question, answer] pairs."
    if not isinstance(history, list | tuple):
        raise RecordError("not-text", "history", f"the value is {describe(history)}, not a list of pairs", remedy)
    messages = []
    for index, pair in enumerate(history):
        where = f"history[{index}]"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RecordError("not-text", where, "the entry is not a [question, answer] pair", remedy)
        messages.append(Message("user", require_text(pair[0], f"{where}[0]")))
        messages.append(Message("assistant", require_text(pair[1], f"{where}[1]")))
    return messages
