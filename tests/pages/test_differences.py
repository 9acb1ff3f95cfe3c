"""What was changed in a text."""

from hypothesis import given
from hypothesis import strategies as strategy

from pages.ui.curate.differences import Piece, differences

TEXTS = strategy.text("ab \nü", max_size=30)


@given(TEXTS, TEXTS)
def test_the_pieces_make_up_both_texts(before: str, after: str) -> None:
    pieces = differences(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == after


def test_a_changed_word_is_told_apart() -> None:
    assert differences("a red car", "a blue car") == (
        Piece("same", "a "),
        Piece("removed", "red"),
        Piece("added", "blue"),
        Piece("same", " car"),
    )


def test_long_texts_are_compared_by_lines() -> None:
    lines = [f"line {number} of many\n" for number in range(2_000)]
    pieces = differences("".join(lines), "".join([*lines[:-1], "another\n"]))
    assert [piece.kind for piece in pieces] == ["same", "removed", "added"] and pieces[2].text == "another\n"
