"""Marks that say what is to be learnt: of a whole answer (KTO), or of one turn of a conversation.

A mark is read as true or false, 1 or 0 (or -1), or as a word for it, in any letter case. Names are compared without
case, spaces, underscores and hyphens, so that `kto_tag`, `KTO-tag` and `ktoTag` are one. Knows values and names; knows
nothing of record forms.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

from delift_core.data.formats.base import is_missing

Verdict = Literal["good", "bad", "zero", "minus", "other"]


def _each(words: str, value: bool) -> dict[str, bool]:
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
_WORDS = {**_each(_YES, True), **_each(_NO, False)}
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]")  # the tone of a thumb
_NEGATED = re.compile(r"^(not|non)(?=.)")

# A field of this name can be nothing but a mark of the answer; the value is what true means.
_SURE = {**_each("ktotag ktolabel kto desirable isdesirable desirability", True)}
_SURE |= _each("undesirable isundesirable", False)
# A field of this name is a mark where its values are: a `label` may as well be a topic, a `rating` a number of stars.
_LIKELY = {
    **_each(
        "label labels preference ispreference preferred ispreferred feedback userfeedback humanfeedback feedbacklabel "
        "thumb thumbs thumbsup thumbup isthumbsup vote votes upvote upvoted reaction like liked isliked good isgood "
        "goodanswer chosen ischosen accept accepted isaccepted acceptable isacceptable approved isapproved rating "
        "score reward quality verdict judgment judgement annotation correct iscorrect correctness helpful ishelpful "
        "safe issafe valid isvalid positive ispositive train training istrain trainable weight lossweight lossmask "
        "binarylabel preferencelabel humanlabel userrating status outcome tag",
        True,
    ),
    **_each(
        "bad isbad rejected isrejected reject dislike disliked isdisliked thumbsdown thumbdown downvote downvoted "
        "isnegative unsafe isunsafe incorrect isincorrect wrong iswrong masked ismasked",
        False,
    ),
}
ANSWER_MARKS = {**_SURE, **_LIKELY}

# Names of a turn's mark; the value is what true means: to be trained, or not.
_TURN_MARKS = {
    **_each(
        "weight weights train training trained trainable istrain istrained istrainable totrain trainon trainonturn "
        "trainturn trainthis shouldtrain fortraining loss lossweight lossmask lossscale lossflag steplossmask "
        "trainmask trainweight trainingweight computeloss calculateloss calcloss hasloss withloss useloss needloss "
        "applyloss inloss includeinloss supervise supervised learn learnable tolearn",
        True,
    ),
    **_each(
        "mask masked ismasked maskloss maskturn maskout ignore ignored ignoreloss ignoreinloss noloss notrain "
        "notrained skip skiptrain skiptraining skiploss donottrain donotlearn excludefromloss excluded exclude "
        "untrained nottrain contextonly iscontext",
        False,
    ),
}
_SPANS = "traindetail"
_TURN_NAMES = frozenset((*_TURN_MARKS, _SPANS))


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A field's name as marks are compared by it."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


def as_bool(value: object) -> bool | None:
    """What a mark says; None where it is missing or says neither."""
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


def verdict(name: str, value: object) -> Verdict | None:
    """What a record's field says of its answer, if it is a mark; None where the name is not one, or no value is there.

    "zero" and "minus" are the numbers 0 and -1. A 0 says "bad" only where others say "good", and no -1 stands beside
    it: a column of zeros says nothing.
    """
    good_when = ANSWER_MARKS.get(plain_name(name))
    if good_when is None or is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    says = as_bool(value)
    if says is None:
        return "other"
    if says is good_when:
        return "good"
    number = None if is_sure(name) else _number(value)
    return "zero" if number == 0 else "minus" if number == -1 else "bad"


@lru_cache(maxsize=4096)
def marks_answers(name: str) -> bool:
    """Whether a field of this name may be a mark of the answer."""
    return plain_name(name) in ANSWER_MARKS


@lru_cache(maxsize=4096)
def is_sure(name: str) -> bool:
    """Whether a field of this name can be nothing but a mark of the answer."""
    return plain_name(name) in _SURE


def sure_mark(record: Mapping[str, object]) -> str | None:
    """The field of one record that marks its answer, whatever other records hold.

    `label` counts where TRL would read it so: true or false beside a prompt and a completion.
    """
    for name in _mark_names(tuple(record)):
        if not is_sure(name):
            break
        if verdict(name, record[name]) in ("good", "bad"):
            return name
    beside = "prompt" in record and "completion" in record
    return "label" if beside and isinstance(record.get("label"), bool) else None


def is_trained(turn: Mapping[str, object]) -> bool:
    """Whether a turn is to be trained, as far as its marks say."""
    return not any(_marks_turns(name) and _says_no(name, value) for name, value in turn.items())


def turn_marks(turns: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """The fields that mark turns, in order of first appearance."""
    return tuple(name for name in dict.fromkeys(name for turn in turns for name in turn) if _marks_turns(name))


def trained_when(name: str) -> bool:
    """What a turn's mark of this name means by true: to be trained, or (as `mask`) not."""
    return _TURN_MARKS.get(plain_name(name), True)


@lru_cache(maxsize=4096)
def _marks_turns(name: str) -> bool:
    return plain_name(name) in _TURN_NAMES


def _says_no(name: str, value: object) -> bool:
    if plain_name(name) == _SPANS:
        return isinstance(value, list | tuple) and bool(value) and not any(_span_trained(span) for span in value)
    if isinstance(value, str):
        number = _number(value)
        says = as_bool(value) if number is None else number > 0
    elif isinstance(value, bool | int | float) and not is_missing(value):
        says = value > 0
    else:
        return False
    return says is not None and says is not trained_when(name)


def _span_trained(span: object) -> bool:
    return not isinstance(span, Mapping) or span.get("train") is not False


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def answers_marked(record: Mapping[str, object]) -> Iterator[tuple[str, Verdict]]:
    """The fields of a record that may mark its answer, those that can be nothing else first, with what they say."""
    for name in _mark_names(tuple(record)):
        says = verdict(name, record[name])
        if says is not None:
            yield name, says


@lru_cache(maxsize=1024)
def _mark_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted((name for name in names if marks_answers(name)), key=lambda name: not is_sure(name)))
