"""What TRL, LLaMA-Factory and Axolotl do with one row of a file, by the rules of their converters; none is run.

LLaMA-Factory leaves out what it cannot align and only warns, Axolotl by default leaves out rows beyond its length, TRL
leaves out rows of which cutting leaves no loss. The rules hold for files that are read with the settings of `recipes`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from delift_core.data.formats.base import describe, known_role
from delift_core.data.formats.training_labels import is_trained, turn_flags
from delift_core.export.shapes import (
    SHAPE_NAMES,
    Shape,
    count_placeholders,
    media_of,
    media_placeholder,
    shape_of,
    training_field,
    turns_of,
)
from delift_core.samples import Role

Trainer = Literal["TRL", "LLaMA-Factory", "Axolotl"]
Effect = Literal[
    "stops the load",
    "left out",
    "cut",
    "trains more",
    "loses a field",
    "up to datasets' version",
    "up to the model",
    "up to the chat template",
]
"""What happens to a row, the most severe effect first."""
Verdict = tuple[Effect, str]
"""An effect and its reason."""
_Record = Mapping[str, object]  # {} for a record that is not an object
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
# The role words that Axolotl knows by default.
AXOLOTL_ROLES = ("human", "user", "assistant", "gpt", "system", "tool")


@dataclass(frozen=True, slots=True)
class RowLength:
    """Tokens of a row's prompt and response."""

    prompt: int
    response: int

    @property
    def total(self) -> int:
        """Tokens of the row."""
        return self.prompt + self.response


def row_verdicts(
    trainer: Trainer, record: object, shape: Shape, known: Sequence[Verdict], length: RowLength | None, limit: int
) -> list[Verdict]:
    """What a trainer does to one row that the file's author may not expect.

    Args:
        record: as decoded from JSON.
        shape: of the file.
        known: what is already known of the row.
        length: of the row in tokens; None skips the rules about length.
        limit: the trainer's longest row in tokens.
    """
    fields = record if isinstance(record, Mapping) else {}
    rules = _text if shape.name == "text" else _RULES[trainer]
    verdicts = [*rules(fields, shape), *_media(trainer, fields, shape)]
    verdicts += [*_by_length(trainer, shape, length, limit), *known]
    if trainer != "TRL":
        verdicts += [*_unjoined_columns(fields, shape), *_ignored_flags(trainer, fields, shape)]
    return verdicts


def why_unreadable(trainer: Trainer, shape: Shape) -> str:
    """Why a trainer cannot read files of a shape; "" if it can."""
    if shape.name == "unknown":
        return f"it cannot read {SHAPE_NAMES[shape.name]} for this; write as messages"
    if shape.name == "prompt-completion-turns" and trainer != "TRL":
        return "it reads turns from one list only; write as messages or sharegpt"
    return ""


def tool_role_word(shape: Shape) -> str:
    """The role word of tool turns in a file."""
    return next((word for word in shape.roles if known_role(word) == "tool"), "observation")


def _text(record: _Record, shape: Shape) -> Iterator[Verdict]:
    yield from _not_text(record, "text", "stops the load")


def _not_text(record: _Record, key: str, effect: Effect) -> Iterator[Verdict]:
    if not isinstance(record.get(key), str):
        yield effect, f"`{key}` is {describe(record.get(key))}, not text"


def _trl(record: _Record, shape: Shape) -> Iterator[Verdict]:
    # TRL reads every row in the way of the first one.
    if _differs(record, shape):
        yield "stops the load", "the record is of another shape than the others"
    elif shape.name == "turns":
        roles = [_role(turn, shape) for turn in turns_of(record, shape) or []]
        yield from _template_order(roles)
        answers = [turn for turn in turns_of(record, shape) or [] if _role(turn, shape) == "assistant"]
        if not any(map(is_trained, answers)):
            marked = "every turn by the assistant is marked as not to be trained"
            yield "stops the load", marked if answers else "no turn is by the assistant"
    elif shape.name in ("prompt-completion", "alpaca"):
        for key in (shape.prompt, shape.response):
            yield from _not_text(record, key, "stops the load")
    else:
        sides: list[Any] = [record[key] for key in ("prompt", "completion")]
        yield from _template_order([_role(turn, shape) for side in sides for turn in side])
        if not all(is_trained(turn) for turn in sides[-1] if isinstance(turn, Mapping)):
            yield "trains more", "the whole completion is trained, and a turn of it is marked as not to be"


def _llama_factory(record: _Record, shape: Shape) -> Iterator[Verdict]:
    if _differs(record, shape):
        # Missing columns are null in the table: a row with a null answer is left out, a null list of turns is an error.
        effect: Effect = "stops the load" if shape.name == "turns" else "left out"
        yield effect, "the record is of another shape than the others"
        return
    if record.get("tools") and not shape.tools_are_text:
        yield "loses a field", "`tools` is read as JSON text only, and is a list here"
    if shape.name == "turns":
        yield from _llama_factory_turns(record, shape)
        return
    yield from _not_text(record, shape.response, "left out")
    for key in (shape.prompt, shape.query):
        if key and record.get(key):
            yield from _not_text(record, key, "stops the load")


def _llama_factory_turns(record: _Record, shape: Shape) -> Iterator[Verdict]:
    turns = turns_of(record, shape) or []
    words = [turn.get(shape.role_key) for turn in turns]
    body = words[1:] if words and words[0] == shape.role_word("system") else words
    texts = [turn.get(shape.text_key) for turn in turns]
    asks = (shape.role_word("user"), tool_role_word(shape))
    answers = (shape.role_word("assistant"), "function_call")
    for index, word in enumerate(body):
        if word not in (asks, answers)[index % 2]:
            yield "left out", _misplaced(word, index, body, asks, answers)
            return
    if not body or len(body) % 2:
        yield "left out", "the turns do not end with an answer" if body else "the list of turns is empty"
    elif any(text is None for text in texts):
        yield "stops the load", "a turn has no text (tool calls are not read)"
    elif any(not isinstance(text, str) for text in texts):
        yield "stops the load", "the text of a turn is a list of parts"


def _misplaced(
    word: object, index: int, body: Sequence[object], asks: tuple[str, str], answers: tuple[str, str]
) -> str:
    """Why LLaMA-Factory does not accept a turn at its position."""
    if word not in (*asks, *answers):
        if known_role(word) == "system":
            return "a system turn is not first"
        return f"the role word {str(word)[:40]!r} is not the one that the other rows use"
    if index == 0:
        return "the turns start with an answer"
    return f"{word} follows {body[index - 1]}: questions and answers must alternate"


def _axolotl(record: _Record, shape: Shape) -> Iterator[Verdict]:
    if _differs(record, shape):
        yield "stops the load", "the record is of another shape than the others"
        return
    if shape.name == "turns":
        turns = turns_of(record, shape) or []
        words = [str(turn.get(shape.role_key)) for turn in turns]
        odd = next((word for word in words if word not in AXOLOTL_ROLES), None)
        if not any(word in ("assistant", "gpt") for word in words):
            yield "left out", "no turn is by the assistant, so there is nothing to train on"
        elif odd is not None:
            yield "up to the chat template", f"the role word {odd[:40]!r} is passed on as it is"
        else:
            yield from _template_order([_role(turn, shape) for turn in turns])
        if shape.system and record.get(shape.system):
            yield "loses a field", f"`{shape.system}` beside the turns is not read"
        if any(turn.get(shape.text_key) is None for turn in turns):
            yield "up to the chat template", "a turn has no text; it is kept if the template reads tool calls"
        return
    response = record.get(shape.response)
    if isinstance(response, str) and not response.strip():
        yield "left out", "the response is empty, so there is nothing to train on"
    yield from _not_text(record, shape.response, "stops the load")
    if shape.history and record.get(shape.history):
        yield "loses a field", f"`{shape.history}` is not read"


def _unjoined_columns(record: _Record, shape: Shape) -> Iterator[Verdict]:
    """Columns of the prompt that are not read by a trainer which joins only one."""
    for name in shape.parts[1:]:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            yield "loses a field", f"`{name}` is not read: one column is joined to the prompt, `{shape.query}`"


def _ignored_flags(trainer: Trainer, record: _Record, shape: Shape) -> Iterator[Verdict]:
    """Turns that are trained although a flag says that they are not."""
    known = training_field(shape) if trainer == "Axolotl" else None
    for turn in turns_of(record, shape) or [] if shape.name == "turns" else []:
        flags = [name for name in turn_flags([turn]) if name != known and not is_trained({name: turn[name]})]
        if flags and _role(turn, shape) == "assistant":
            yield "trains more", f"`{flags[0]}` is not read: a turn that is marked as not to be trained is trained"
            return


def _media(trainer: Trainer, record: _Record, shape: Shape) -> Iterator[Verdict]:
    """What a trainer does with columns of images, videos or audio."""
    for column in media_of(record):
        if trainer != "LLaMA-Factory":
            yield "loses a field", f"`{column}` is not read, and its marks stay in the text"
            continue
        found, media = count_placeholders(_texts(record, shape), column), record[column]
        count = len(media) if isinstance(media, list) else 1
        if found != count:
            mark = media_placeholder(column)
            yield "stops the load", f"`{column}` holds {count:,} and the text has {mark} {found:,} times"
        yield "up to the model", f"`{column}` is read by a model made for it; another one stops the load"


def _texts(record: _Record, shape: Shape) -> list[str]:
    """The texts of a record that may have placeholders for media."""
    turns = turns_of(record, shape) if shape.name == "turns" else None
    values = [turn.get(shape.text_key) for turn in turns] if turns is not None else list(record.values())
    return [value for value in values if isinstance(value, str)]


def _by_length(trainer: Trainer, shape: Shape, length: RowLength | None, limit: int) -> Iterator[Verdict]:
    if length is None or length.total <= limit:
        return
    words = f"{length.total:,} tokens, beyond the limit of {limit:,}"
    if shape.name == "text":
        yield "cut", f"{words}; " + ("the rest is a row of its own" if trainer == "Axolotl" else "the end is cut")
        return
    if trainer == "Axolotl":
        yield "left out", words
    elif trainer == "TRL" and length.prompt >= limit:
        # Cutting keeps the start, so nothing of the response is left for the loss.
        yield "left out", f"{words}; nothing of the response is left after cutting"
    else:
        yield "cut", f"{words}; " + ("the end is cut" if trainer == "TRL" else "prompt and response are cut")


def _template_order(roles: Sequence[Role | None]) -> Iterator[Verdict]:
    """Orders of roles that many chat templates reject."""
    body = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in body:
        yield "up to the chat template", "a system turn is not first"
    elif body[:1] == ["assistant"]:
        yield "up to the chat template", "the turns start with an answer"
    elif any(one == other == "user" for one, other in zip(body, body[1:], strict=False)):
        yield "up to the chat template", "two questions follow each other"
    elif any(one == other == "assistant" for one, other in zip(body, body[1:], strict=False)):
        yield "up to the chat template", "two answers follow each other"


def _differs(record: _Record, shape: Shape) -> bool:
    own = shape_of(record)
    same_keys = (own.turns, own.role_key, own.text_key) == (shape.turns, shape.role_key, shape.text_key)
    if shape.name == "turns":
        return own.name != "turns" or not same_keys
    return own.name != shape.name or (own.prompt, own.response) != (shape.prompt, shape.response)


def _role(turn: object, shape: Shape) -> Role | None:
    return known_role(turn.get(shape.role_key)) if isinstance(turn, Mapping) else None


_RULES: dict[Trainer, Callable[[_Record, Shape], Iterator[Verdict]]] = {
    "TRL": _trl,
    "LLaMA-Factory": _llama_factory,
    "Axolotl": _axolotl,
}
