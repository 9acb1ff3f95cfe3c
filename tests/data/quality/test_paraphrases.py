"""Rows of one meaning in other words are found, and rows that only look alike are not."""

import importlib.util
import json
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.data.quality.duplicates import copy_groups, semantic_groups, semantic_overlaps
from delift_core.errors import DataError
from delift_core.models.vectors import WordVectors
from tests.data.quality.test_duplicates import samples

Row = tuple[str, str]


def pairs(same: bool) -> tuple[tuple[Row, Row], ...]:
    """Pairs of questions with their answers that say the same, or that only look alike."""
    lines = (Path(__file__).parents[2] / "fixtures" / "reworded.jsonl").read_text("utf-8").splitlines()
    found = (pair for pair in map(json.loads, lines) if pair["same"] is same)
    return tuple((tuple(pair["first"]), tuple(pair["second"])) for pair in found)


SAME, OTHER = pairs(same=True), pairs(same=False)


def test_each_pair_of_one_meaning_is_a_group_and_no_other() -> None:
    rows = samples(*(row for pair in (*SAME, *OTHER) for row in pair))
    groups = semantic_groups(rows, copy_groups(rows))
    assert [{one.kept, *one.copies} for one in groups] == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]
    assert {one.kind for one in groups} == {"semantic"}
    for group in groups:
        assert all(len(rows[group.kept].response) >= len(rows[at].response) for at in group.copies)
        assert 0.74 <= group.similarity < 1


def test_copies_that_are_known_are_not_grouped_twice() -> None:
    first, second = SAME[0]
    rows = samples(first, first, second)
    known = copy_groups(rows)
    assert [(one.kept, one.copies) for one in known] == [(0, (1,))]
    (group,) = semantic_groups(rows, known)
    assert {group.kept, *group.copies} == {0, 2}
    assert semantic_groups(rows[:1]) == () == semantic_groups(())


def test_a_row_of_the_held_out_set_is_found_in_other_words() -> None:
    pool = samples(*(pair[0] for pair in (*OTHER, *SAME)))
    heldout = samples(*(pair[1] for pair in (*SAME, *OTHER)))
    found = semantic_overlaps(pool, heldout, known=(4,))
    assert [(one.position, one.other, one.kind) for one in found] == [
        (5, 1, "semantic"),
        (6, 2, "semantic"),
        (7, 3, "semantic"),
    ]
    assert semantic_overlaps(pool, ()) == () == semantic_overlaps((), heldout)


def test_inspect_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, side in (("pool", 0), ("held", 1)):
        lines = [json.dumps({"question": pair[side][0], "answer": pair[side][1]}) for pair in SAME[:2]]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines * 2 if name == "held" else lines), "utf-8")
    both = [json.dumps({"question": question, "answer": answer}) for question, answer in SAME[2]]
    with (tmp_path / "pool.jsonl").open("a", encoding="utf-8") as out:
        out.write("\n" + "\n".join(both))
    assert main(["inspect", str(tmp_path / "pool.jsonl"), "--against", str(tmp_path / "held.jsonl")]) == 0
    told = capsys.readouterr().out
    assert "keep row 4, longest answer; its copies: line 3 (paraphrase, similarity 0.77" in told
    assert "of them 2 are paraphrases (line 1, 2)" in told


def test_vectors_are_of_length_one_and_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = WordVectors().embed(["a b", ""])
    assert found.shape == (2, 256) and abs(float(found[0] @ found[0]) - 1) < 1e-5 and not found[1].any()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="wordllama is not installed"):
        WordVectors()
