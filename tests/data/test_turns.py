"""Every assistant turn as a row of its own: what is a row, what helps what, and how a record is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.curation.curate import open_selection
from delift_core.curation.manifest import read_manifest
from delift_core.data.loading import ReadOptions, load_bytes, load_file
from delift_core.data.quality.checks import find_issues
from delift_core.data.quality.duplicates import copy_groups
from delift_core.export.preflight import ExportDraft
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.samples import ExportFormat, positions_by_record
from delift_core.scoring.estimation.matrix_files import record_codes, without_same_record
from delift_core.workspace import Workspace
from tests.export.scored import scored


def talk(*words: str, **more: object) -> str:
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": word} for at, word in enumerate(words)]
    return json.dumps({"messages": turns, **more})


LINES = [
    talk("u0", "a0", "u1", "a1", "u2", "a2", id="x"),
    json.dumps({"instruction": "i", "output": "o", "history": [["h", "g"]]}),
    json.dumps({"prompt": "p", "completion": "c"}),
    talk("v0", "", "v1", "b1", "left over"),
    json.dumps({"conversations": [{"from": "human", "value": "w"}, {"from": "gpt", "value": "z"}]}),
]
DATA = "\n".join(LINES).encode()


def test_each_answer_is_a_row_given_all_before_it() -> None:
    last, every = load_bytes(DATA, "x.jsonl"), load_bytes(DATA, "x.jsonl", ReadOptions(turns="every"))
    assert (last.turns, every.turns) == ("last", "every")
    assert [one.response for one in every.samples] == ["a0", "a1", "a2", "g", "o", "c", "b1", "z"]
    assert positions_by_record(every.samples) == ((0, 1, 2), (3, 4), (5,), (6,), (7,))
    ends = [every.samples[turns[-1]] for turns in positions_by_record(every.samples)]
    assert [one.content_hash for one in ends] == [one.content_hash for one in last.samples]
    assert every.samples[1].prompt == "u1" and len({one.id for one in every.samples}) == 8


def test_the_choice_is_kept_with_the_set(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "work") as workspace:
        every = load_bytes(DATA, "x.jsonl", ReadOptions(turns="every"))
        record = workspace.datasets.add(every, role="pool")
        assert record.turns == "every" and workspace.datasets.load(record.id) == every
        assert workspace.datasets.add(load_bytes(DATA, "x.jsonl"), role="pool").turns == "last"


def test_turns_of_one_record_do_not_help_each_other() -> None:
    samples = load_bytes(DATA, "x.jsonl", ReadOptions(turns="every")).samples
    assert record_codes(load_bytes(DATA, "x.jsonl").samples) is None
    records = record_codes(samples)
    assert records is not None
    dense = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    np.fill_diagonal(dense, np.nan)
    found = without_same_record(dense, records)
    same = (records[:, None] == records) & ~np.eye(8, dtype=bool)
    assert not found[same].any() and np.array_equal(found[~same], dense[~same], equal_nan=True)
    sparse = without_same_record(csr_array(np.nan_to_num(dense)), records)
    assert isinstance(sparse, csr_array) and np.array_equal(sparse.toarray(), np.nan_to_num(found))


def test_health_and_copies_look_at_whole_records() -> None:
    rows = [talk("the same long question", "and the same long answer", "more", f"end {at}") for at in (1, 1, 2)]
    samples = load_bytes(
        "\n".join([*rows, talk("{{x}}", "a", "b", "c", id=1)]).encode(), "x.jsonl", ReadOptions(turns="every")
    )
    found = {one.kind: one.positions for one in find_issues(samples.samples).findings}
    assert found == {"repeated-prompt": (0, 1, 2, 3, 4, 5), "template-residue": (6, 7)}
    (group,) = copy_groups(samples.samples, near=1)
    assert (group.kept, group.copies) == (1, (2, 3))


@pytest.mark.parametrize("format", ["same", "messages", "sharegpt"])
@pytest.mark.parametrize("refuse", [(), (2,)])
def test_a_record_is_written_whole_and_once(tmp_path: Path, format: ExportFormat, refuse: tuple[int, ...]) -> None:
    out = tmp_path / "out.jsonl"
    with Workspace.open(tmp_path / "work") as workspace:
        made = scored(workspace, tmp_path / "pool.jsonl", LINES[:2], budget="2", refuse=refuse, turns="every")
        rows = load_file(made.pool_file, ReadOptions(turns="every")).samples
        workspace.edits.apply(made.selection_id, "keep", [rows[0].id, rows[1].id], author="me")
        workspace.edits.apply(made.selection_id, "drop", [one.id for one in rows[3:]], author="me")
        export_selection(workspace, made.selection_id, out, format=format)
        curated = open_selection(workspace, made.selection_id)
        draft = ExportDraft(curated, format)
        assert [one.raw for one in draft.samples] == LINES[:1]
        assert "in 1 records, each exported once and whole" in draft.checks()[0].detail
        assert all(check.rows == 1 for check in draft.trainer_checks(100))
    (written,) = load_file(out).samples
    assert written.content_hash == load_file(made.pool_file).samples[0].content_hash
    manifest = read_manifest(tmp_path / "out.manifest.json")
    assert manifest.pool.turns == "every" and manifest.output.rows == len(manifest.written) == 1
    assert all(check.ok for check in verify(tmp_path / "out.manifest.json"))
