import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from delift_core.curation.curate import open_selection
from delift_core.curation.manifest import RowEntry
from delift_core.errors import ExportError
from delift_core.export.card import trainer_kit
from delift_core.export.conversion import ConvertedRecord, convert_sample
from delift_core.export.preflight import ExportDraft
from delift_core.export.subset_files import export_draft, export_selection
from delift_core.samples import ExportFormat, Sample
from delift_core.selection.types import ErrorBar
from delift_core.workspace import Workspace
from tests.export.scored import CONTEXT, NOW, REFUSED, Scored, alpaca_lines, clock, scored


def by_status(rows: tuple[RowEntry, ...], status: str) -> list[RowEntry]:
    return [row for row in rows if row.status == status]


def test_the_subset_is_the_chosen_lines_in_file_order_byte_for_byte(eight: Scored, tmp_path: Path) -> None:
    manifest = export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", clock=clock)
    lines = [row.line for row in by_status(manifest.rows, "chosen")]
    found = eight.pool_file.read_bytes().split(b"\n")
    assert lines == sorted(lines) and len(lines) == 3
    assert (tmp_path / "out.jsonl").read_bytes() == b"".join(found[line - 1] + b"\n" for line in lines)


def test_the_manifest_holds_what_is_needed_to_make_it_again(eight: Scored, tmp_path: Path) -> None:
    manifest = export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", clock=clock)
    record = eight.workspace.selections.load(eight.selection_id)
    data = (tmp_path / "out.jsonl").read_bytes()
    assert manifest.output.sha256 == hashlib.sha256(data).hexdigest()
    assert manifest.pool.sha256 == hashlib.sha256(eight.pool_file.read_bytes()).hexdigest()
    assert (manifest.pool.rows, manifest.pool.origin) == (8, str(eight.pool_file))
    assert (manifest.model.name, manifest.model.revision, manifest.model.template) == ("tiny", "abc123", "chat")
    assert manifest.model.context_key == CONTEXT.key
    assert (manifest.seed, manifest.metric, manifest.created_at) == (5, "euclidean", NOW.isoformat())
    assert manifest.result.value == record.selection.certificate.value
    assert manifest.result.random_mean == record.selection.random.mean
    assert {"python", "torch", "numpy", "delift-studio"} <= {package.name for package in manifest.versions}
    picks = sorted((row for row in manifest.rows if row.rank), key=lambda row: row.rank or 0)
    assert [row.gain for row in picks] == record.selection.chosen_gains.tolist()
    order = sorted((row for row in manifest.rows if row.greedy_rank), key=lambda row: row.greedy_rank or 0)
    scored_ids = [row.id for row in manifest.rows if row.status != "not-scored"]
    assert [row.id for row in order] == [scored_ids[position] for position in record.selection.greedy.order]
    assert [row.greedy_gain for row in order] == record.selection.greedy.gains.tolist()


def test_every_pool_row_is_accounted_for(eight: Scored, tmp_path: Path) -> None:
    manifest = export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl")
    assert [row.line for row in manifest.rows] == list(range(1, 9))
    (unscored,) = by_status(manifest.rows, "not-scored")
    assert (unscored.line, unscored.rank, unscored.reason) == (8, None, f"Not scored: {REFUSED}.")
    ids = {row.line: row.id for row in manifest.rows}
    for row in manifest.rows[:7]:
        assert row.reason.startswith("Chosen" if row.rank else "Left out")
        assert set(row.named) == {ids[int(line)] for line in re.findall(r"\brow (\d+)", row.reason)}


def test_edits_are_in_the_file_and_in_the_manifest(eight: Scored, tmp_path: Path) -> None:
    before = export_selection(eight.workspace, eight.selection_id, tmp_path / "before.jsonl")
    gone, added = by_status(before.rows, "chosen")[1], by_status(before.rows, "dropped")[0]
    edits = eight.workspace.edits
    edits.apply(eight.selection_id, "drop", [gone.id], author="Ada", why="wrong answer")
    edits.apply(eight.selection_id, "keep", [added.id], author="Bo")
    manifest = export_selection(eight.workspace, eight.selection_id, tmp_path / "after.jsonl")
    lines = (tmp_path / "after.jsonl").read_text("utf-8").split("\n")
    assert eight.lines[added.line - 1] in lines and eight.lines[gone.line - 1] not in lines
    rows = {row.id: row for row in manifest.rows}
    assert (rows[gone.id].status, rows[added.id].status) == ("dropped-by-hand", "kept-by-hand")
    assert rows[gone.id].reason == f"Dropped by hand by Ada on 2031-05-06 (wrong answer). {gone.reason}"
    assert rows[added.id].reason == f"Kept by hand by Bo on 2031-05-06. {added.reason}"
    assert [(edit.author, edit.why, edit.when) for edit in manifest.edits] == [
        ("Ada", "wrong answer", NOW.isoformat()),
        ("Bo", "", NOW.isoformat()),
    ]
    assert manifest.result.value == before.result.value != manifest.result.subset_value


def test_an_empty_subset_is_refused_and_writes_nothing(eight: Scored, tmp_path: Path) -> None:
    manifest = export_selection(eight.workspace, eight.selection_id, tmp_path / "first.jsonl")
    ids = [row.id for row in by_status(manifest.rows, "chosen")]
    eight.workspace.edits.apply(eight.selection_id, "drop", ids, author="Ada")
    with pytest.raises(ExportError, match="empty.*undo"):
        export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_an_export_is_noted_and_never_overwrites_its_pool(eight: Scored, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="overwrite the input"):
        export_selection(eight.workspace, eight.selection_id, eight.pool_file)
    export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", format="messages")
    (noted,) = eight.workspace.exports.records()
    assert (noted.path, noted.n_records, noted.format) == (str(tmp_path / "out.jsonl"), 3, "messages")


def test_a_pool_file_that_changed_since_has_no_hash(eight: Scored, tmp_path: Path) -> None:
    eight.pool_file.write_text("\n".join(eight.lines[1:]), "utf-8")
    assert export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl").pool.sha256 is None


def test_a_preview_is_the_start_of_the_file(eight: Scored, tmp_path: Path) -> None:
    curated = open_selection(eight.workspace, eight.selection_id)
    export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", format="sharegpt")
    written = (tmp_path / "out.jsonl").read_text("utf-8").split("\n")
    assert ExportDraft(curated, "sharegpt").preview(limit=2) == tuple(written[:2])
    assert "conversations" in json.loads(written[0])


def test_a_draft_is_rendered_again_if_the_rows_were_edited_since(eight: Scored, tmp_path: Path) -> None:
    draft = ExportDraft(open_selection(eight.workspace, eight.selection_id), "same")
    shown = draft.lines
    eight.workspace.edits.apply(eight.selection_id, "drop", [draft.samples[0].id], author="somebody else")
    manifest = export_draft(eight.workspace, draft, tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_text("utf-8").splitlines(keepends=True)
    assert (len(written), manifest.output.rows) == (2, 2) and written == list(shown[1:])


def test_a_draft_renders_each_row_once(eight: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counted(sample: Sample, format: ExportFormat) -> ConvertedRecord:
        rendered.append(sample.id)
        return convert_sample(sample, format)

    monkeypatch.setattr("delift_core.export.conversion.convert_sample", counted)
    draft = ExportDraft(open_selection(eight.workspace, eight.selection_id), "sharegpt")
    for container in ("jsonl", "parquet", "csv"):
        draft.checks(container)
    manifest = export_draft(eight.workspace, draft, tmp_path / "out.jsonl")
    draft.trainer_checks(64)
    trainer_kit(draft, manifest, 4096)
    assert sorted(rendered) == sorted(sample.id for sample in draft.samples)


def test_checks_name_what_is_not_well(workspace: Workspace, tmp_path: Path) -> None:
    lines = alpaca_lines(6)
    lines[2] = lines[1]
    call = {"role": "tool", "content": "21 degrees"}
    turns = [{"role": "user", "content": "Hot?"}, call, {"role": "assistant", "content": "Yes."}]
    turns.append({"role": "user", "content": "Thanks."})
    lines[4] = json.dumps({"messages": turns, "tools": [{"type": "function"}]})
    made = scored(workspace, tmp_path / "pool.jsonl", lines, budget="5", refuse=[5])
    curated = open_selection(workspace, made.selection_id)
    found = {check.label: check for check in ExportDraft(curated, "alpaca").checks()}
    assert found["Rows in the subset"].detail == "5 of 5"
    assert not found["Rows can be exported"].ok and "row 5" in found["Rows can be exported"].detail
    lost = {check.label: check for check in ExportDraft(curated, "messages").checks()}["Nothing lost in conversion"]
    assert not lost.ok and "in 1 rows turns after the scored answer are left out" in lost.detail
    assert not found["Duplicates"].ok and "1 rows" in found["Duplicates"].detail
    assert not found["Rows scored"].ok
    assert found["Prompts fit the context"].ok
    assert [check.ok for check in ExportDraft(curated, "same").checks()[:3]] == [True, True, True]


@pytest.mark.parametrize(("ratio", "enough"), [(0.88, False), (0.99, True)])
def test_a_selection_from_a_part_of_the_pairs_is_said_to_be_one(eight: Scored, ratio: float, enough: bool) -> None:
    curated = open_selection(eight.workspace, eight.selection_id)
    found = {check.label: check for check in ExportDraft(curated, "same").checks()}
    assert found["Pairs scored"].ok and found["Pairs scored"].detail == "all"
    curated.problem._facts.put("partial", {"pool": SimpleNamespace(complete=False)})
    vars(curated)["error_bar"] = ErrorBar(90, 0.14, ratio, ratio - 0.02, 1.0, False, 40, 0.5, 0.6, 0.2)
    found = {check.label: check for check in ExportDraft(curated, "same").checks()}
    assert found["Pairs scored"].ok == enough
    assert "Based on 14% of the pairs" in found["Pairs scored"].detail


def test_a_budget_beyond_what_helps_is_said(eight: Scored) -> None:
    curated = open_selection(eight.workspace, eight.selection_id)
    selection = curated.record.selection
    gains = selection.chosen_gains.copy()
    gains[2:] = 0
    saturated = replace(selection, chosen_gains=gains)
    (check,) = [
        check
        for check in ExportDraft(replace(curated, record=replace(curated.record, selection=saturated)), "same").checks()
        if check.label == "Every row adds something"
    ]
    assert not check.ok and check.detail == "2 rows cover everything; the other 1 only fill the budget"
