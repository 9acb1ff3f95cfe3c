"""Copies: groups, the row that is kept, similarities that are exact, and overlap with another set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.data.quality.duplicates import copied_positions, copy_groups, overlaps
from delift_core.samples import Message, ParsedRecord, Sample, with_ids

LONG = "Explain how a bicycle stays upright while it moves, in words that a child of ten can follow without help."


def samples(*pairs: tuple[str, str]) -> tuple[Sample, ...]:
    records = [
        ParsedRecord((Message("user", prompt), Message("assistant", response)), "{}", "x.jsonl", line)
        for line, (prompt, response) in enumerate(pairs, start=1)
    ]
    return with_ids(records)


def test_exact_copies_differ_in_capitals_and_white_space_only() -> None:
    rows = samples(("Say hi", "Hi"), ("other", "row"), ("say  HI ", "hi"), ("Say hi", "Hi."))
    (group,) = copy_groups(rows, near=1)
    assert (group.kind, group.kept, group.copies, group.similarity) == ("exact", 0, (2,), 1.0)
    assert group.reason == "first in the file"


def test_near_copies_keep_the_longest_answer_and_every_exact_copy_of_them() -> None:
    short, longer = f"{LONG} Answer.", f"{LONG} Answer now, please."
    rows = samples(("q", short), ("nothing like it", "at all"), ("q", longer), ("q", short.upper()))
    (group,) = copy_groups(rows)
    assert (group.kind, group.kept, group.copies) == ("near", 2, (0, 3))
    assert 0.8 <= group.similarity < 1
    assert copied_positions([group]) == (0, 3)


def test_a_chain_of_small_changes_is_not_one_group() -> None:
    words = [f"word{number}" for number in range(60)]
    rows = samples(*(("q", " ".join(words[start : start + 30])) for start in range(0, 30, 2)))
    for group in copy_groups(rows):
        kept = rows[group.kept].response
        assert all(len(set(kept.split()) & set(rows[at].response.split())) >= 20 for at in group.copies)


def test_another_number_or_another_answer_is_another_row() -> None:
    rows = samples((f"{LONG} 17 times", "Yes."), (f"{LONG} 18 times", "Yes."), (f"{LONG} 17 times", "Never at all."))
    assert copy_groups(rows) == ()
    assert copy_groups(samples(("q", "a"), ("q", "b"))) == ()


def test_overlaps_compare_prompts() -> None:
    pool = samples((LONG, "A"), ("Unrelated question about tea", "A"), (LONG.replace("child", "kid"), "B"), ("", "x"))
    heldout = samples(("Something else entirely", "C"), (LONG.upper(), "another answer"))
    found = overlaps(pool, heldout)
    assert [(one.position, one.other, one.kind) for one in found] == [(0, 1, "exact"), (2, 1, "near")]
    assert found[0].similarity == 1.0 > found[1].similarity >= 0.8
    assert [one.position for one in overlaps(pool, heldout, near=1)] == [0]
    assert overlaps(pool, ()) == () == overlaps((), heldout) == copy_groups(())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", LONG, LONG + "!", LONG[:60], "\U0001f600", "x" * 300]), max_size=8))
def test_every_row_is_kept_or_a_copy_of_one_that_is(texts: list[str]) -> None:
    groups = copy_groups(samples(*(("q", text) for text in texts)))
    copies, kept = copied_positions(groups), [group.kept for group in groups]
    assert len(set(copies)) == len(copies) and not set(copies) & set(kept)
    left = [text for at, text in enumerate(texts) if at not in copies]
    assert len(left) == len(set(left)) and {text.strip("!") for text in left} == {text.strip("!") for text in texts}


def test_why_a_row_is_kept_is_said_of_its_own_group() -> None:
    asked = "How far is it from the harbour to the old lighthouse on the northern cliff?"
    rows = samples(
        (asked, "Three km."), (asked + "?", "Three km."), (LONG, "A yes, I think so."), (LONG + "!", "A yes, I think")
    )
    assert [one.reason for one in copy_groups(rows)] == ["first in the file", "longest answer"]


def test_rows_with_other_thoughts_or_other_tools_are_no_copies() -> None:
    def row(line: int, thoughts: str, tools: str = "") -> ParsedRecord:
        answer = Message("assistant", "It leans into the turn.", thoughts=thoughts)
        return ParsedRecord((Message("user", LONG), answer), "{}", "x.jsonl", line, tools)

    same = [row(1, LONG), row(2, LONG.upper()), row(3, "Wheels turn, and a small lean is steered into at once. " * 8)]
    assert [group.copies for group in copy_groups(with_ids(same))] == [(1,)]
    tools = [row(1, "", '[{"name": "a"}]'), row(2, "", '[{"name": "a"}]'), row(3, "", '[{"name": "b"}]'), row(4, "")]
    assert [group.copies for group in copy_groups(with_ids(tools))] == [(1,)]
