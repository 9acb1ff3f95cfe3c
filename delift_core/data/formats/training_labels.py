"""Fields that say what to learn: the label of an answer (KTO), and the training flag of a turn.

Values are true or false, 1 or 0 (or -1), or a word for them, in any letter case. Names are compared without case,
spaces, underscores and hyphens: `kto_tag`, `KTO-tag` and `ktoTag` are the same name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

from delift_core.data.formats.base import is_missing

LabelValue = Literal["good", "bad", "zero", "minus", "other"]
""""zero" and "minus" are the numbers 0 and -1. A 0 means "bad" only if other records have "good" and none has -1: a
column of zeros says nothing."""


def _dict_of(words: str, value: bool) -> dict[str, bool]:
    return dict.fromkeys(words.split(), value)


_YES = (
    "true t yes y good chosen desirable desired positive pos thumbsup thumbup up upvote upvoted like liked accept "
    "accepted acceptable approve approved prefer preferred correct right helpful safe pass passed win winner 👍"
)
_NO = (
    "false f no n bad rejected reject undesirable undesired negative neg thumbsdown thumbdown down downvote "
    "downvoted dislike disliked declined unacceptable disapproved dispreferred unpreferred incorrect wrong unhelpful "
    "unsafe fail failed lose loser 👎"
)
_WORDS = {**_dict_of(_YES, True), **_dict_of(_NO, False)}
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]")  # skin tones of a thumb
_NEGATED = re.compile(r"^(not|non)(?=.)")

# Names that can only be an answer's label; the value is whether true means good.
_DEFINITE = {**_dict_of("ktotag ktolabel kto desirable isdesirable desirability", True)}
_DEFINITE |= _dict_of("undesirable isundesirable", False)
# Names that are a label only if their values are: a `label` may be a topic, a `rating` a number of stars.
_LIKELY = {
    **_dict_of(
        "label labels preference ispreference preferred ispreferred feedback userfeedback humanfeedback feedbacklabel "
        "thumb thumbs thumbsup thumbup isthumbsup vote votes upvote upvoted reaction like liked isliked good isgood "
        "goodanswer chosen ischosen accept accepted isaccepted acceptable isacceptable approved isapproved rating "
        "score reward quality verdict judgment judgement annotation correct iscorrect correctness helpful ishelpful "
        "safe issafe valid isvalid positive ispositive train training istrain trainable weight lossweight lossmask "
        "binarylabel preferencelabel humanlabel userrating status outcome tag",
        True,
    ),
    **_dict_of(
        "bad isbad rejected isrejected reject dislike disliked isdisliked thumbsdown thumbdown downvote downvoted "
        "isnegative unsafe isunsafe incorrect isincorrect wrong iswrong masked ismasked",
        False,
    ),
}
ANSWER_LABELS = {**_DEFINITE, **_LIKELY}

# Names of a turn's training flag; the value is whether true means that the turn is trained.
_TURN_FLAGS = {
    **_dict_of(
        "weight weights train training trained trainable istrain istrained istrainable totrain trainon trainonturn "
        "trainturn trainthis shouldtrain fortraining loss lossweight lossmask lossscale lossflag steplossmask "
        "trainmask trainweight trainingweight computeloss calculateloss calcloss hasloss withloss useloss needloss "
        "applyloss inloss includeinloss supervise supervised learn learnable tolearn",
        True,
    ),
    **_dict_of(
        "mask masked ismasked maskloss maskturn maskout ignore ignored ignoreloss ignoreinloss noloss notrain "
        "notrained skip skiptrain skiptraining skiploss donottrain donotlearn excludefromloss excluded exclude "
        "untrained nottrain contextonly iscontext",
        False,
    ),
}
_SPAN_FLAG = "traindetail"
_FLAG_NAMES = frozenset((*_TURN_FLAGS, _SPAN_FLAG))


@lru_cache(maxsize=4096)
def normalized_name(name: str) -> str:
    """A field's name without case, spaces and punctuation, for comparing names."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


def as_bool(value: object) -> bool | None:
    """Reads a value as true or false; None if it is missing or neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = re.sub(r"[\W_]+", "", value).lower() or _SKIN.sub("", value.strip())
        negated = _NEGATED.match(word)
        if word in _WORDS:
            return _WORDS[word]
        if negated and word[negated.end() :] in _WORDS:
            return not _WORDS[word[negated.end() :]]
    number = _number(value)
    return None if number is None or number not in (-1, 0, 1) else number == 1


def read_label(name: str, value: object) -> LabelValue | None:
    """Reads a field as an answer's label; None if the name is not a label's or the value is missing."""
    good_when = ANSWER_LABELS.get(normalized_name(name))
    if good_when is None or is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    says = as_bool(value)
    if says is None:
        return "other"
    if says is good_when:
        return "good"
    number = None if is_definite_label(name) else _number(value)
    return "zero" if number == 0 else "minus" if number == -1 else "bad"


@lru_cache(maxsize=4096)
def is_label_name(name: str) -> bool:
    """Whether a field of this name may label an answer."""
    return normalized_name(name) in ANSWER_LABELS


@lru_cache(maxsize=4096)
def is_definite_label(name: str) -> bool:
    """Whether a field of this name can only label an answer."""
    return normalized_name(name) in _DEFINITE


def definite_label(record: Mapping[str, object]) -> str | None:
    """The field that labels a record's answer, whatever other records hold.

    `label` counts if TRL would read it: true or false, beside a prompt and a completion.
    """
    for name in _label_names(tuple(record)):
        if not is_definite_label(name):
            break
        if read_label(name, record[name]) in ("good", "bad"):
            return name
    beside = "prompt" in record and "completion" in record
    return "label" if beside and isinstance(record.get("label"), bool) else None


def is_trained(turn: Mapping[str, object]) -> bool:
    """Whether a turn is trained: no flag says that it is not."""
    return not any(_is_flag_name(name) and _says_untrained(name, value) for name, value in turn.items())


def turn_flags(turns: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """Names of the training flags in some turns, in order of first appearance."""
    return tuple(name for name in dict.fromkeys(name for turn in turns for name in turn) if _is_flag_name(name))


def flag_means_trained(name: str) -> bool:
    """Whether true in a flag of this name means that the turn is trained; false for a `mask`."""
    return _TURN_FLAGS.get(normalized_name(name), True)


@lru_cache(maxsize=4096)
def _is_flag_name(name: str) -> bool:
    return normalized_name(name) in _FLAG_NAMES


def _says_untrained(name: str, value: object) -> bool:
    if normalized_name(name) == _SPAN_FLAG:
        spans = value if isinstance(value, list | tuple) else ()
        return bool(spans) and all(isinstance(span, Mapping) and span.get("train") is False for span in spans)
    if isinstance(value, str):
        number = _number(value)
        says = as_bool(value) if number is None else number > 0
    elif isinstance(value, bool | int | float) and not is_missing(value):
        says = value > 0
    else:
        return False
    return says is not None and says is not flag_means_trained(name)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def answer_labels(record: Mapping[str, object]) -> Iterator[tuple[str, LabelValue]]:
    """The fields of a record that may label its answer, definite labels first, with their values."""
    for name in _label_names(tuple(record)):
        says = read_label(name, record[name])
        if says is not None:
            yield name, says


@lru_cache(maxsize=1024)
def _label_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted((name for name in names if is_label_name(name)), key=lambda name: not is_definite_label(name)))
