import hashlib
import json
from pathlib import Path

import pytest

from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.samples import ExportFormat
from delift_core.system.texts import Check
from delift_core.workspace import Workspace
from tests.export.scored import Scored, scored

pytestmark = pytest.mark.slow


def failed(manifest: Path) -> list[Check]:
    return [check for check in verify(manifest) if not check.ok]


@pytest.mark.parametrize("format", ["same", "alpaca", "sharegpt", "messages", "prompt-completion"])
def test_a_fresh_export_is_as_its_manifest_says(eight: Scored, tmp_path: Path, format: ExportFormat) -> None:
    export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", format=format)
    found = verify(tmp_path / "out.manifest.json")
    assert all(check.ok for check in found) and len(found) == 5


def test_one_changed_byte_is_found(eight: Scored, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    export_selection(eight.workspace, eight.selection_id, out)
    data = bytearray(out.read_bytes())
    data[data.index(b"answer")] ^= 1
    out.write_bytes(bytes(data))
    labels = [check.label for check in failed(tmp_path / "out.manifest.json")]
    assert labels == ["Output hash", "Rows are the pool's"]


def test_lost_swapped_and_missing_rows_are_found(eight: Scored, tmp_path: Path) -> None:
    out, manifest = tmp_path / "out.jsonl", tmp_path / "out.manifest.json"
    export_selection(eight.workspace, eight.selection_id, out)
    lines = out.read_bytes().split(b"\n")
    out.write_bytes(b"\n".join(lines[:2]) + b"\n")
    assert {"Output hash", "Output rows", "Rows are the pool's"} == {check.label for check in failed(manifest)}
    out.write_bytes(b"\n".join([lines[1], lines[0], *lines[2:]]))
    assert {"Output hash", "Rows are the pool's"} == {check.label for check in failed(manifest)}
    out.unlink()
    assert [check.label for check in failed(manifest)] == ["Output exists"]


def test_a_file_remade_to_fit_its_hash_is_still_compared_with_the_pool(eight: Scored, tmp_path: Path) -> None:
    out, path = tmp_path / "out.jsonl", tmp_path / "out.manifest.json"
    export_selection(eight.workspace, eight.selection_id, out)
    lines = out.read_text("utf-8").split("\n")
    record = json.loads(lines[1])
    lines[1] = json.dumps(record | {"id": 99})  # the same conversation in another record
    manifest = json.loads(path.read_text("utf-8"))
    out.write_text("\n".join(lines), "utf-8", newline="\n")
    manifest["output"]["sha256"] = hashlib.sha256(out.read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))
    (check,) = failed(path)
    assert "line 2 differs from the record at line" in check.detail


def test_a_changed_or_lost_input_is_found(eight: Scored, tmp_path: Path) -> None:
    export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl")
    manifest = tmp_path / "out.manifest.json"
    eight.pool_file.write_bytes(eight.pool_file.read_bytes() + b"\n")
    (check,) = failed(manifest)
    assert "changed" in check.detail
    eight.pool_file.unlink()
    (check,) = failed(manifest)
    assert "gone" in check.detail


def test_files_that_moved_together_verify(eight: Scored, tmp_path: Path) -> None:
    export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (eight.pool_file, tmp_path / "out.jsonl", tmp_path / "out.manifest.json"):
        path.rename(elsewhere / path.name)
    assert failed(elsewhere / "out.manifest.json") == []


def test_a_blank_system_text_is_no_difference(workspace: Workspace, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": ""}, {"role": "user", "content": "u"}]
    lines = [json.dumps({"messages": [*turns, {"role": "assistant", "content": f"a{row}"}]}) for row in range(3)]
    made = scored(workspace, tmp_path / "pool.jsonl", lines)
    export_selection(workspace, made.selection_id, tmp_path / "out.jsonl", format="alpaca")
    assert failed(tmp_path / "out.manifest.json") == []


def test_mapped_columns_verify_from_csv(workspace: Workspace, tmp_path: Path) -> None:
    made = scored(
        workspace, tmp_path / "pool.jsonl", [f'{{"question": "q{row}", "answer": "a", "n": 1}}' for row in range(4)]
    )
    export_selection(workspace, made.selection_id, tmp_path / "out.jsonl")
    assert failed(tmp_path / "out.manifest.json") == []


def test_a_folder_has_a_hash_of_all_its_files(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    rows = [json.dumps({"instruction": f"Question {row}?", "output": f"answer {row}"}) for row in range(6)]
    (folder / "b.jsonl").write_text("\n".join(rows[3:]) + "\n")
    (folder / "a.jsonl").write_text("\n".join(rows[:3]) + "\n")
    made = scored(workspace, folder, ())
    export_selection(workspace, made.selection_id, tmp_path / "out.jsonl")
    assert all(check.ok for check in verify(tmp_path / "out.manifest.json"))
    (folder / "c.jsonl").write_text(rows[0] + "\n")
    assert [check.label for check in failed(tmp_path / "out.manifest.json")] == ["Input pool 'parts'"]
