"""TRL's prompt/completion records: two texts, or two lists of turns."""

from collections.abc import Mapping, Sequence

from delift_core.formats.base import RecordError, end_at_response, missing_field, optional_text, require_text
from delift_core.formats.cells import turns_in_text
from delift_core.formats.messages import as_turns
from delift_core.formats.turns import parse_turns, with_system
from delift_core.samples import Message, Role


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has both fields."""
    return "prompt" in record and "completion" in record


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads a record in either form; the response is the last assistant turn of the completion.

    Raises:
        RecordError: a field is missing, is neither text nor turns, or there is nothing to learn.
    """
    for key in ("prompt", "completion"):
        if key not in record:
            raise missing_field(key, "a prompt-completion record")
    prompt = _side(record["prompt"], "prompt", "user")
    completion = _side(record["completion"], "completion", "assistant")
    if not any(message.role == "assistant" for message in completion):
        remedy = "Put the answer to learn into the completion as an assistant turn."
        raise RecordError("no-assistant-turn", "completion", "no turn is by the assistant", remedy)
    blank = not any(message.role == "user" and message.content.strip() for message in prompt)
    system = optional_text(record.get("system"), "system")
    return end_at_response(with_system(system, [*prompt, *completion]), "prompt" if blank else "completion")


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes the conversational form: everything before the response is the prompt, the response the completion.

    Raises:
        RecordError: the conversation does not end with an assistant turn.
    """
    if not messages or messages[-1].role != "assistant":
        what = "the conversation does not end with an assistant turn"
        raise RecordError("no-assistant-turn", "", what, "Add the assistant turn, or leave the sample out.")
    return {"prompt": as_turns(messages[:-1]), "completion": as_turns(messages[-1:])}


def _side(value: object, field: str, role: Role) -> list[Message]:
    value = turns_in_text(value)
    if isinstance(value, list | tuple):
        return parse_turns(value, field, answered=role == "assistant")
    return [Message(role, require_text(value, field))]
