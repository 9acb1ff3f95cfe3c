"""Plain text: an opening and its continuation, which together are the text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.loading import load_bytes
from delift_core.export.writers import render_lines


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("The sky is blue.", "The sky is "),
        ("one\ntwo", "one\n"),
        ("  a  antidisestablishmentarianism", "  a  "),
        ("a bb ccc antidisestablishmentarianism", "a bb ccc "),
    ],
)
def test_a_text_is_parted_behind_its_middle(text: str, opening: str) -> None:
    assert detect_format({"text": text, "url": "u"}) == "text"
    assert [turn.content for turn in parse_record("text", {"text": text}).messages] == [opening, text[len(opening) :]]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_both_parts_are_the_text_or_it_is_refused(text: str) -> None:
    try:
        first, second = parse_record("text", {"text": text}).messages
    except RecordError as error:
        assert error.kind == "empty-response" and len(text.split()) < 2
    else:
        assert first.content + second.content == text and first.content.strip() and second.content.strip()


@pytest.mark.parametrize("value", ["", "word", "   ", 3, None, ["a b"]])
def test_what_has_no_continuation_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        parse_record("text", {"text": value})


def test_a_file_of_texts_comes_out_as_it_went_in() -> None:
    lines = [json.dumps({"text": f"a line of words {number}", "n": number}) for number in range(3)]
    data = load_bytes("\n".join([*lines, '{"text": "one"}']).encode(), "x.jsonl")
    assert data.format == "text" and [one.kind for one in data.problems] == ["empty-response"]
    assert list(render_lines(data.samples, "same")) == [line + "\n" for line in lines]
