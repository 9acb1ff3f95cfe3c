"""The text of one record with something mended in it, all else as found; the same text where nothing can be.

Knows the patterns of the health report and the spellings of turns; knows nothing of data sets.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from delift_core.data.formats import RecordError
from delift_core.data.formats.base import PART_SEPARATOR
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.training_labels import is_trained
from delift_core.data.formats.turn_spellings import parse_list, standard_turns
from delift_core.data.formats.vocabulary import ROLE_KEYS, ROLES, TEXT_KEYS
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.json_scanner import ValueSpan, replace_spans, replace_texts, value_spans
from delift_core.data.loading.raw_records import dump
from delift_core.data.quality.checks import CONTROLS, ID_KEYS, MARKERS, PERSONAL_KINDS, is_card

_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_MISSING = ("null", "NaN", "Infinity", "-Infinity")


def masked(raw: str) -> str:
    """Mail addresses, phone and card numbers, social security numbers and keys give way to a word in brackets."""
    return _each_text(raw, _mask)


def unmarked(raw: str) -> str:
    """Markers that a chat template or a prompt template left are taken out; placeholders like {{name}} stay."""
    return _each_text(raw, lambda text: MARKERS.sub("", text).strip() if MARKERS.search(text) else text)


def decoded(raw: str) -> str:
    """UTF-8 that was read as Latin-1 is read as UTF-8, controls are taken out; lost characters stay lost."""
    import ftfy

    return _each_text(raw, lambda text: CONTROLS.sub("", ftfy.fix_encoding(text)))


def encodable(raw: str) -> str:
    """Halves of surrogate pairs give way to the replacement character; whole pairs stay."""
    return _ESCAPE.sub(lambda match: "\\ufffd" if match.group(1) else match.group(), raw)


def as_text(raw: str, read: Callable[[object], object]) -> str:
    """Values that should be text, and are a number, true, false, an object or a list, become their JSON as text.

    Args:
        read: reads a decoded record, or raises a `RecordError` that names the field in its way.
    """
    for _ in range(len(raw)):  # each round mends one value, so that it ends
        try:
            read(DECODER.decode(raw))
        except RecordError as error:
            place = _place_of(raw, error.field) if error.kind == "not-text" else None
            if place is None or place.text is not None or raw[place.start : place.end] in _MISSING:
                return raw
            raw = replace_texts(raw, {place: _as_json(raw[place.start : place.end])})
        else:
            return raw
    return raw


def _as_json(raw: str) -> str:
    """A value's JSON as found; what JSON lacks is null in it."""
    return dump(DECODER.decode(raw)) if "NaN" in raw or "Infinity" in raw else raw


def in_order(raw: str) -> str:
    """System turns become one at the start, and turns of one role behind each other become one."""
    cell = _cell(raw)
    if cell is not None and cell.text is not None:
        return replace_texts(raw, {cell: in_order(cell.text)})
    turns = _turns(raw)
    if turns is None:
        return raw
    first = [turn for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    joined: list[_Turn] = []
    for turn in (*first, *rest):
        if joined and turn.role == joined[-1].role and turn.role != "tool":
            both = joined[-1].with_more(turn)
            if both is None:
                return raw
            joined[-1] = both
        else:
            joined.append(turn)
    return _put_turns(raw, joined)


def up_to_answer(raw: str) -> str:
    """Turns behind the last answer are taken out."""
    cell = _cell(raw)
    if cell is not None and cell.text is not None:
        return replace_texts(raw, {cell: up_to_answer(cell.text)})
    turns = _turns(raw) or []
    last = max((at for at, turn in enumerate(turns) if turn.role == "assistant" and turn.trained), default=None)
    return raw if last is None else _put_turns(raw, turns[: last + 1])


def renamed(raw: str, new_id: str | int) -> str:
    """The record under another id, as text or as a number."""
    own = next((place for key in ID_KEYS for place in value_spans(raw) if place.path == key), None)
    if own is None:
        return raw
    return replace_spans(raw, {own: str(new_id)}) if isinstance(new_id, int) else replace_texts(raw, {own: new_id})


class _Turn:
    """One turn as it is spelt: its role, and the text of its JSON object."""

    def __init__(self, role: str, raw: str, trained: bool = True) -> None:
        self.role = role
        self.raw = raw
        self.trained = trained

    def with_more(self, other: "_Turn") -> "_Turn | None":
        """This turn with the text of another behind its own; None where one of them holds more than a text."""
        own, its = (_only_text(turn.raw) for turn in (self, other))
        if own is None or its is None or own.text is None or its.text is None:
            return None
        if self.role == "assistant" and self.trained != other.trained:
            return None
        return _Turn(self.role, replace_texts(self.raw, {own: own.text + PART_SEPARATOR + its.text}), self.trained)


def _only_text(raw: str) -> ValueSpan | None:
    """The text of a turn that has no calls of tools."""
    found = {place.path: place for place in value_spans(raw)}
    calls = [found[key] for key in ("tool_calls", "function_call") if key in found]
    if any(raw[place.start : place.end] not in ("null", "[]") for place in calls):
        return None
    return next((found[key] for key in TEXT_KEYS if key in found and found[key].text is not None), None)


def _cell(raw: str) -> ValueSpan | None:
    """The text of a record that is JSON of its list of turns."""
    conversation = find_conversation(DECODER.decode(raw))
    if conversation is None or conversation.is_list:
        return None
    place = next((place for place in value_spans(raw) if place.path == conversation.field and place.text), None)
    text = place.text.strip() if place and place.text else ""
    try:
        return place if text[:1] == "[" and parse_list(text) == DECODER.decode(text) else None
    except (ValueError, RecursionError):
        return None


def _turns(raw: str) -> list[_Turn] | None:
    """The turns of a record that stand in a list, each of a known role."""
    conversation = find_conversation(DECODER.decode(raw))
    if conversation is None or not conversation.is_list:
        return None
    spans = {place.path: place for place in value_spans(raw)}
    found = []
    for where, turn in conversation.turns:
        spelt = list(standard_turns(turn)) if isinstance(turn, Mapping) else []
        word = next((spelt[0][key] for key in ROLE_KEYS if spelt[0].get(key)), None) if len(spelt) == 1 else None
        role = ROLES.get(word.strip().lower()) if isinstance(word, str) else None
        if role is None or not isinstance(turn, Mapping):
            return None
        found.append(_Turn(role, raw[spans[where].start : spans[where].end], is_trained(turn)))
    return found


def _put_turns(raw: str, turns: Sequence[_Turn]) -> str:
    conversation = find_conversation(DECODER.decode(raw))
    before = [_turn.raw for _turn in _turns(raw) or []]
    if conversation is None or before == [turn.raw for turn in turns]:
        return raw
    whole = next(place for place in value_spans(raw) if place.path == conversation.field)
    return replace_spans(raw, {whole: f"[{', '.join(turn.raw for turn in turns)}]"})


def _each_text(raw: str, change: Callable[[str], str]) -> str:
    """A record with each of its strings changed, ids aside."""
    changed = {
        place: new
        for place in value_spans(raw)
        if place.text is not None and place.path not in ID_KEYS and (new := change(place.text)) != place.text
    }
    return replace_texts(raw, changed) if changed else raw


def _mask(text: str) -> str:
    for pattern, word in PERSONAL_KINDS:
        text = pattern.sub(partial(_word_for, word), text)
    return text


def _word_for(word: str, match: re.Match[str]) -> str:
    return match.group() if word == "[CARD]" and not is_card(match) else word


def _place_of(raw: str, field: str) -> ValueSpan | None:
    path = re.sub(r"^turns(?=\[)", "", field) if raw.lstrip()[:1] == "[" else field
    return next((place for place in value_spans(raw) if place.path == path), None)
