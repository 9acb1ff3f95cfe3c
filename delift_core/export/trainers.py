"""What TRL, LLaMA-Factory and Axolotl would do with each row of an exported file, by their rules; none is run.

The rules are those of the trainers' converters: LLaMA-Factory leaves out what it cannot align and only warns, Axolotl
leaves out rows beyond its length by default, TRL leaves out rows whose loss is masked after cutting. They hold for
files read with the settings of `recipes`. Knows decoded records and token counts; knows nothing of selections.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from delift_core.data.formats.base import describe, name_list
from delift_core.data.formats.training_labels import is_trained, turn_flags
from delift_core.data.formats.vocabulary import ROLES
from delift_core.export.shapes import (
    SHAPE_WORDS,
    Shape,
    mark_of,
    marks_in,
    mask_of_trainer,
    media_of,
    null_columns,
    shape_of,
    shape_of_file,
    turns_of,
    uneven_rows,
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
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
DEFAULT_LIMIT = 4096  # tokens of a trainer's longest row, where nothing else is said
_Verdict = tuple[Effect, str]
# The role words that Axolotl maps without being told.
AXOLOTL_ROLES = ("human", "user", "assistant", "gpt", "system", "tool")


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of one row's prompt and response."""

    prompt: int
    response: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.response


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answers of one record that were chosen, where every answer is a row.

    Attributes:
        ends: their positions among the turns.
        others: how many of its answers were not.
        last: tokens of the last of them and of its prompt.
    """

    ends: tuple[int, ...]
    others: int
    last: Length


@dataclass(frozen=True, slots=True)
class Risk:
    """What a trainer does to one row that the file's author may not expect.

    Attributes:
        row: position in the file, from 0.
    """

    row: int
    trainer: Trainer
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class TrainerCheck:
    """A trainer's account of a file.

    Attributes:
        rows: in the file.
        kept: rows that would be trained on; 0 where the load stops.
        note: how the file is read, or why it is not.
        risks: in file order; at most one for each row, the gravest.
    """

    trainer: Trainer
    rows: int
    kept: int
    note: str
    risks: tuple[Risk, ...]


def check_table(
    records: Sequence[object],
    *,
    limit: int,
    lengths: Sequence[Length | None] = (),
    chosen: Sequence[Chosen] = (),
) -> tuple[TrainerCheck, ...]:
    """How many rows of a file each trainer would keep, and which rows are at risk.

    Args:
        records: the file's records as decoded from JSON, in order.
        limit: the trainers' longest row in tokens.
        lengths: tokens of each row with the model's own tokenizer, None where unknown; without them no row is judged by
            its length.
        chosen: of each record the answers that were chosen, where it holds more than one row; TRL trains these alone,
            by its recipe, and the others every answer.
    """
    shape = shape_of_file(records)
    known = lengths if len(lengths) == len(records) else [None] * len(records)
    uneven, empty = uneven_rows(records), null_columns(records)
    of_all: dict[int, list[_Verdict]] = {row: [("up to datasets' version", words)] for row, words in uneven.items()}
    of_others = {row: list(found) for row, found in of_all.items()}
    for row, one in enumerate(chosen):
        if one.others:
            what = f"{one.others:,} answers of the record that were not chosen are trained as well"
            of_others.setdefault(row, []).append(("trains more", what))
    own = [one.last for one in chosen] or known
    table = (
        _check(trainer, records, shape, of_all, own, limit)
        if trainer == "TRL"
        else _check(trainer, records, shape, of_others, known, limit)
        for trainer in TRAINERS
    )
    words = f"; null in every row, and so without a type: {name_list(empty)}" if empty else ""
    return tuple(replace(one, note=one.note + words) for one in table)


def _check(
    trainer: Trainer,
    records: Sequence[object],
    shape: Shape,
    known: Mapping[int, Sequence[_Verdict]],
    lengths: Sequence[Length | None],
    limit: int,
) -> TrainerCheck:
    refused = refusal(trainer, shape)
    if refused:
        return TrainerCheck(trainer, len(records), 0, refused, ())
    risks = []
    for row, (record, length) in enumerate(zip(records, lengths, strict=True)):
        rules = _text if shape.name == "text" else _RULES[trainer]
        verdicts = [*rules(record, shape), *_media(trainer, record, shape), *_by_length(trainer, shape, length, limit)]
        verdicts += known.get(row, ())
        if trainer != "TRL":
            verdicts += [*_not_joined(record, shape), *_masked(trainer, record, shape)]
        if verdicts:
            effect, reason = min(verdicts, key=lambda verdict: _GRAVITY.index(verdict[0]))
            risks.append(Risk(row, trainer, effect, reason))
    stops = [risk for risk in risks if risk.effect == "stops the load"]
    if stops:
        note = f"the load stops at {len(stops):,} rows: {stops[0].reason}; fix them, or export in another format"
        return TrainerCheck(trainer, len(records), 0, note, tuple(risks))
    lost = sum(risk.effect == "left out" for risk in risks)
    return TrainerCheck(trainer, len(records), len(records) - lost, f"read as {SHAPE_WORDS[shape.name]}", tuple(risks))


_GRAVITY: tuple[Effect, ...] = get_args(Effect)


def refusal(trainer: Trainer, shape: Shape) -> str:
    """Why a trainer cannot read files of a shape at all; "" where it can."""
    if shape.name == "unknown":
        return f"it cannot read {SHAPE_WORDS[shape.name]} for this; write as messages"
    if shape.name == "prompt-completion-turns" and trainer != "TRL":
        return "it reads turns from one list only; write as messages or sharegpt"
    return ""


def _not_joined(record: object, shape: Shape) -> Iterator[_Verdict]:
    """What a trainer that joins one column to the prompt leaves out of it."""
    if not isinstance(record, Mapping):
        return
    for name in shape.parts[1:]:
        if isinstance(record.get(name), str) and record[name].strip():
            yield "loses a field", f"`{name}` is not read: one column is joined to the prompt, `{shape.query}`"


def _masked(trainer: Trainer, record: object, shape: Shape) -> Iterator[_Verdict]:
    """Turns that are trained although their marks say that they are not to be."""
    told = mask_of_trainer(shape) if trainer == "Axolotl" else None
    for turn in turns_of(record, shape) or [] if shape.name == "turns" else []:
        marks = [name for name in turn_flags([turn]) if name != told and not is_trained({name: turn[name]})]
        if marks and _role(turn, shape) == "assistant":
            yield "trains more", f"`{marks[0]}` is not read: a turn that is marked as not to be trained is trained"
            return


def _text(record: object, shape: Shape) -> Iterator[_Verdict]:
    value = record.get("text") if isinstance(record, Mapping) else None
    if not isinstance(value, str):
        yield "stops the load", f"`text` is {describe(value)}, not text"


def _media(trainer: Trainer, record: object, shape: Shape) -> Iterator[_Verdict]:
    """What becomes of pictures, films and sound that stand in a column of their own."""
    for column in media_of(record):
        if trainer != "LLaMA-Factory":
            yield "loses a field", f"`{column}` is not read, and its marks stay in the text"
            continue
        assert isinstance(record, Mapping)
        marks = marks_in(_texts(record, shape), column)
        count = len(record[column]) if isinstance(record[column], list) else 1
        if marks != count:
            yield "stops the load", f"`{column}` holds {count:,} and the text has {mark_of(column)} {marks:,} times"
        yield "up to the model", f"`{column}` is read by a model made for it; another one stops the load"


def _texts(record: Mapping[str, object], shape: Shape) -> list[str]:
    """The texts of a record in which media are marked."""
    turns = turns_of(record, shape) if shape.name == "turns" else None
    values = [turn.get(shape.text_key) for turn in turns] if turns is not None else list(record.values())
    return [value for value in values if isinstance(value, str)]


def _trl(record: object, shape: Shape) -> Iterator[_Verdict]:
    # TRL looks at the first row and takes the others to be alike.
    if _other_shape(record, shape):
        yield "stops the load", "the record is of another shape than the others"
    elif shape.name == "turns":
        roles = [_role(turn, shape) for turn in turns_of(record, shape) or []]
        yield from _template_order(roles)
        answers = [turn for turn in turns_of(record, shape) or [] if _role(turn, shape) == "assistant"]
        if not any(map(is_trained, answers)):
            what = (
                "every turn by the assistant is marked as not to be trained"
                if answers
                else "no turn is by the assistant"
            )
            yield "stops the load", what
    elif shape.name in ("prompt-completion", "alpaca"):
        for key in _pair(shape):
            value = record.get(key) if isinstance(record, Mapping) else None
            if not isinstance(value, str):
                yield "stops the load", f"`{key}` is {describe(value)}, not text"
    else:
        sides = [record[key] for key in ("prompt", "completion")] if isinstance(record, Mapping) else []
        yield from _template_order([_role(turn, shape) for side in sides for turn in side])
        if not all(is_trained(turn) for turn in sides[-1:] and sides[-1] if isinstance(turn, Mapping)):
            yield "trains more", "the whole completion is trained, and a turn of it is marked as not to be"


def _llama_factory(record: object, shape: Shape) -> Iterator[_Verdict]:
    if _other_shape(record, shape) or not isinstance(record, Mapping):
        # Columns that it lacks are null in the table: a null answer is left out, a null list of turns is not expected.
        effect: Effect = "stops the load" if shape.name == "turns" else "left out"
        yield effect, "the record is of another shape than the others"
        return
    if record.get("tools") and not shape.tools_are_text:
        yield "loses a field", "`tools` is read as JSON text only, and is a list here"
    if shape.name == "turns":
        yield from _llama_factory_turns(record, shape)
        return
    prompt, response = _pair(shape)
    if not isinstance(record.get(response), str):
        yield "left out", f"`{response}` is {describe(record.get(response))}, not text"
    for key in (prompt, shape.query):
        value = record.get(key) if key else None
        if value and not isinstance(value, str):
            yield "stops the load", f"`{key}` is {describe(value)}, not text"


def _llama_factory_turns(record: object, shape: Shape) -> Iterator[_Verdict]:
    turns = turns_of(record, shape) or []
    words = [turn.get(shape.role_key) for turn in turns]
    body = words[1:] if words and words[0] == shape.word_of("system") else words
    texts = [turn.get(shape.text_key) for turn in turns]
    asks = (shape.word_of("user"), observation_word(shape))
    answers = (shape.word_of("assistant"), "function_call")
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
    """Why a turn stands where LLaMA-Factory does not take it."""
    if word not in (*asks, *answers):
        role = ROLES.get(str(word).strip().lower())
        if role == "system":
            return "a system turn is not first"
        return f"the role word {str(word)[:40]!r} is not the one that the other rows use"
    if index == 0:
        return "the turns start with an answer"
    return f"{word} follows {body[index - 1]}: questions and answers must alternate"


def _axolotl(record: object, shape: Shape) -> Iterator[_Verdict]:
    if _other_shape(record, shape):
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
        if isinstance(record, Mapping) and shape.system and record.get(shape.system):
            yield "loses a field", f"`{shape.system}` beside the turns is not read"
        if any(turn.get(shape.text_key) is None for turn in turns):
            yield "up to the chat template", "a turn has no text; it is kept if the template reads tool calls"
        return
    response = record.get(_pair(shape)[1]) if isinstance(record, Mapping) else None
    if isinstance(response, str) and not response.strip():
        yield "left out", "the response is empty, so there is nothing to train on"
    elif not isinstance(response, str):
        yield "stops the load", f"`{_pair(shape)[1]}` is {describe(response)}, not text"
    if isinstance(record, Mapping) and shape.history and record.get(shape.history):
        yield "loses a field", f"`{shape.history}` is not read"


def _template_order(roles: Sequence[Role | None]) -> Iterator[_Verdict]:
    """Orders of roles that many chat templates refuse."""
    body = roles[1:] if roles[:1] == ["system"] else roles
    if "system" in body:
        yield "up to the chat template", "a system turn is not first"
    elif body[:1] == ["assistant"]:
        yield "up to the chat template", "the turns start with an answer"
    elif any(one == other == "user" for one, other in zip(body, body[1:], strict=False)):
        yield "up to the chat template", "two questions follow each other"
    elif any(one == other == "assistant" for one, other in zip(body, body[1:], strict=False)):
        yield "up to the chat template", "two answers follow each other"


def _by_length(trainer: Trainer, shape: Shape, length: Length | None, limit: int) -> Iterator[_Verdict]:
    if length is None or length.total <= limit:
        return
    words = f"{length.total:,} tokens, beyond the limit of {limit:,}"
    if shape.name == "text":
        yield "cut", f"{words}; " + ("the rest is a row of its own" if trainer == "Axolotl" else "the end is cut")
        return
    if trainer == "Axolotl":
        yield "left out", words
    elif trainer == "TRL" and length.prompt >= limit:
        # Cutting keeps the start; a loss on the answer alone has then nothing left of it.
        yield "left out", f"{words}; nothing of the response is left after cutting"
    else:
        yield "cut", f"{words}; " + ("the end is cut" if trainer == "TRL" else "prompt and response are cut")


def observation_word(shape: Shape) -> str:
    """The word that the file uses for what a tool answered."""
    return next((word for word in shape.roles if ROLES.get(word.strip().lower()) == "tool"), "observation")


def _other_shape(record: object, shape: Shape) -> bool:
    own = shape_of(record)
    same_keys = (own.turns, own.role_key, own.text_key) == (shape.turns, shape.role_key, shape.text_key)
    if shape.name == "turns":
        return own.name != "turns" or not same_keys
    return own.name != shape.name or (own.prompt, own.response) != (shape.prompt, shape.response)


def _pair(shape: Shape) -> tuple[str, str]:
    return shape.prompt, shape.response


def _role(turn: object, shape: Shape) -> Role | None:
    word = turn.get(shape.role_key) if isinstance(turn, Mapping) else None
    return ROLES.get(str(word).strip().lower())


_RULES: dict[Trainer, Callable[[object, Shape], Iterator[_Verdict]]] = {
    "TRL": _trl,
    "LLaMA-Factory": _llama_factory,
    "Axolotl": _axolotl,
}
