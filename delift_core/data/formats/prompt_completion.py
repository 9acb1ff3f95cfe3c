"""TRL's prompt/completion records: two texts, or two lists of turns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from delift_core.data.formats.base import RecordError, any_present, end_at_response, missing_field, require_text
from delift_core.data.formats.messages import as_turns
from delift_core.data.formats.prompt_parts import part_names, prompt_turns
from delift_core.data.formats.turn_spellings import turns_in_text
from delift_core.data.formats.turns import parse_turns, system_of, with_system
from delift_core.samples import Message


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has both fields."""
    return any_present(record, ("prompt", "completion"))


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads a record in either form; the response is the last assistant turn of the completion.

    Raises:
        RecordError: a field is missing, is neither text nor turns, or there is nothing to learn.
    """
    for key in ("prompt", "completion"):
        if key not in record:
            raise missing_field(key, "a prompt-completion record")
    given = turns_in_text(record["prompt"])
    if isinstance(given, list | tuple):
        # What is learnt stands in the completion.
        prompt = [replace(turn, trained=False) for turn in parse_turns(given, "prompt", answered=False)]
    else:
        prompt = prompt_turns(record, "prompt", part_names(record, "prompt", "completion"))
    completion = _completion(record["completion"])
    if not any(message.role == "assistant" for message in completion):
        remedy = "Put the answer to learn into the completion as an assistant turn."
        raise RecordError("no-assistant-turn", "completion", "no turn is by the assistant", remedy)
    blank = not any(message.role == "user" and message.content.strip() for message in prompt)
    return end_at_response(with_system(system_of(record), [*prompt, *completion]), "prompt" if blank else "completion")


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes the conversational form: everything before the response is the prompt, the response the completion.

    Raises:
        RecordError: the conversation does not end with an assistant turn.
    """
    if not messages or messages[-1].role != "assistant":
        what = "the conversation does not end with an assistant turn"
        raise RecordError("no-assistant-turn", "", what, "Add the assistant turn, or remove the row.")
    return {"prompt": as_turns(messages[:-1]), "completion": as_turns(messages[-1:])}


def _completion(value: object) -> list[Message]:
    value = turns_in_text(value)
    if isinstance(value, list | tuple):
        return parse_turns(value, "completion")
    return [Message("assistant", require_text(value, "completion"))]
