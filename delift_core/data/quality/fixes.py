"""Fixes of one record's JSON text; everything else in the record stays byte for byte.

Each function returns the text unchanged if there is nothing to fix.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from delift_core.data.formats import RecordError
from delift_core.data.formats.base import PART_SEPARATOR, TEXT_KEYS, turn_role
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.training_labels import is_trained
from delift_core.data.formats.turn_spellings import parse_list, standard_turns
from delift_core.data.loading.json_scanner import DECODER, ValueSpan, replace_spans, replace_texts, value_spans
from delift_core.data.loading.raw_records import dump
from delift_core.data.quality.checks import CONTROLS, ID_KEYS, MARKERS, PERSONAL_KINDS, is_card_number

_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_MISSING = ("null", "NaN", "Infinity", "-Infinity")


def mask_personal_data(raw: str) -> str:
    """Replaces mail addresses, phone, card and social security numbers, and keys with a word in brackets."""
    return _change_texts(raw, _mask)


def remove_markers(raw: str) -> str:
    """Removes markers of chat and prompt templates; placeholders such as {{name}} stay."""
    return _change_texts(raw, lambda text: MARKERS.sub("", text).strip() if MARKERS.search(text) else text)


def fix_encoding(raw: str) -> str:
    """Decodes UTF-8 that was read as Latin-1, and removes control characters."""
    import ftfy

    return _change_texts(raw, lambda text: CONTROLS.sub("", ftfy.fix_encoding(text)))


def replace_surrogates(raw: str) -> str:
    """Replaces lone surrogates with the replacement character."""
    return _ESCAPE.sub(lambda match: "\\ufffd" if match.group(1) else match.group(), raw)


def convert_to_text(raw: str, read: Callable[[object], object]) -> str:
    """Replaces values that should be text (numbers, booleans, objects, lists) with their JSON as text.

    Args:
        read: parses a decoded record, or raises a `RecordError` that names the field.
    """
    for _ in range(len(raw)):  # each round fixes one value, so the loop ends
        try:
            read(DECODER.decode(raw))
        except RecordError as error:
            span = _span_of(raw, error.field) if error.kind == "not-text" else None
            if span is None or span.text is not None or raw[span.start : span.end] in _MISSING:
                return raw
            raw = replace_texts(raw, {span: _as_json(raw[span.start : span.end])})
        else:
            return raw
    return raw


def _as_json(raw: str) -> str:
    """A value's JSON text, with null for NaN."""
    return dump(DECODER.decode(raw)) if "NaN" in raw or "Infinity" in raw else raw


def reorder_turns(raw: str) -> str:
    """Merges system turns into one at the start, and successive turns of one role."""
    whole = _turn_list_text(raw)
    if whole is not None and whole.text is not None:
        return replace_texts(raw, {whole: reorder_turns(whole.text)})
    turns = _turns(raw)
    if turns is None:
        return raw
    first = [turn for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    joined: list[_Turn] = []
    for turn in (*first, *rest):
        if joined and turn.role == joined[-1].role and turn.role != "tool":
            merged = joined[-1].merged(turn)
            if merged is None:
                return raw
            joined[-1] = merged
        else:
            joined.append(turn)
    return _replace_turns(raw, joined)


def drop_trailing_turns(raw: str) -> str:
    """Removes the turns after the last answer."""
    whole = _turn_list_text(raw)
    if whole is not None and whole.text is not None:
        return replace_texts(raw, {whole: drop_trailing_turns(whole.text)})
    turns = _turns(raw) or []
    last = max((at for at, turn in enumerate(turns) if turn.role == "assistant" and turn.trained), default=None)
    return raw if last is None else _replace_turns(raw, turns[: last + 1])


def replace_id(raw: str, new_id: str | int) -> str:
    """Replaces a record's id."""
    own = next((span for key in ID_KEYS for span in value_spans(raw) if span.path == key), None)
    if own is None:
        return raw
    return replace_spans(raw, {own: str(new_id)}) if isinstance(new_id, int) else replace_texts(raw, {own: new_id})


class _Turn:
    """One turn: its role, and its JSON text."""

    def __init__(self, role: str, raw: str, trained: bool = True) -> None:
        self.role = role
        self.raw = raw
        self.trained = trained

    def merged(self, following: "_Turn") -> "_Turn | None":
        """This turn with the text of the following one appended; None if one of them holds more than a text."""
        first, second = (_text_span(turn.raw) for turn in (self, following))
        if first is None or second is None or first.text is None or second.text is None:
            return None
        if self.role == "assistant" and self.trained != following.trained:
            return None
        text = first.text + PART_SEPARATOR + second.text
        return _Turn(self.role, replace_texts(self.raw, {first: text}), self.trained)


def _text_span(raw: str) -> ValueSpan | None:
    """The text of a turn without tool calls."""
    found = {span.path: span for span in value_spans(raw)}
    calls = [found[key] for key in ("tool_calls", "function_call") if key in found]
    if any(raw[span.start : span.end] not in ("null", "[]") for span in calls):
        return None
    return next((found[key] for key in TEXT_KEYS if key in found and found[key].text is not None), None)


def _turn_list_text(raw: str) -> ValueSpan | None:
    """The string in a record that holds its list of turns as JSON."""
    conversation = find_conversation(DECODER.decode(raw))
    if conversation is None or conversation.is_list:
        return None
    span = next((span for span in value_spans(raw) if span.path == conversation.field and span.text), None)
    text = span.text.strip() if span and span.text else ""
    try:
        return span if text[:1] == "[" and parse_list(text) == DECODER.decode(text) else None
    except (ValueError, RecursionError):
        return None


def _turns(raw: str) -> list[_Turn] | None:
    """The turns of a record whose conversation is a list of turns with known roles; else None."""
    conversation = find_conversation(DECODER.decode(raw))
    if conversation is None or not conversation.is_list:
        return None
    spans = {span.path: span for span in value_spans(raw)}
    found = []
    for where, turn in conversation.turns:
        converted = list(standard_turns(turn)) if isinstance(turn, Mapping) else []
        role = turn_role(converted[0]) if len(converted) == 1 else None
        if role is None or not isinstance(turn, Mapping):
            return None
        found.append(_Turn(role, raw[spans[where].start : spans[where].end], is_trained(turn)))
    return found


def _replace_turns(raw: str, turns: Sequence[_Turn]) -> str:
    conversation = find_conversation(DECODER.decode(raw))
    before = [turn.raw for turn in _turns(raw) or []]
    if conversation is None or before == [turn.raw for turn in turns]:
        return raw
    whole = next(span for span in value_spans(raw) if span.path == conversation.field)
    return replace_spans(raw, {whole: f"[{', '.join(turn.raw for turn in turns)}]"})


def _change_texts(raw: str, change: Callable[[str], str]) -> str:
    """Applies a function to each string of a record, without ids."""
    changed = {
        span: new
        for span in value_spans(raw)
        if span.text is not None and span.path not in ID_KEYS and (new := change(span.text)) != span.text
    }
    return replace_texts(raw, changed) if changed else raw


def _mask(text: str) -> str:
    for pattern, word in PERSONAL_KINDS:
        text = pattern.sub(partial(_mask_match, word), text)
    return text


def _mask_match(word: str, match: re.Match[str]) -> str:
    return match.group() if word == "[CARD]" and not is_card_number(match) else word


def _span_of(raw: str, field: str) -> ValueSpan | None:
    path = re.sub(r"^turns(?=\[)", "", field) if raw.lstrip()[:1] == "[" else field
    return next((span for span in value_spans(raw) if span.path == path), None)
