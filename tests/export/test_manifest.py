import json
from pathlib import Path

import pytest

from delift_core.curation.curate import open_selection, reoptimise
from delift_core.curation.manifest import FixedEntry, from_json, read_manifest, to_json
from delift_core.errors import ExportError
from delift_core.export.subset_files import export_selection
from delift_core.export.writers import manifest_path
from tests.export.scored import Scored, clock


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("a/out.jsonl", "a/out.manifest.json"),
        ("out.JSON", "out.manifest.json"),
        ("subset.v2", "subset.v2.manifest.json"),
    ],
)
def test_the_manifest_lies_beside_its_file(out: str, expected: str) -> None:
    assert manifest_path(Path(out)) == Path(expected)


def test_reading_back_gives_an_equal_manifest(eight: Scored, tmp_path: Path) -> None:
    eight.workspace.edits.apply(eight.selection_id, "drop", _chosen(eight)[:1], author="Ada", why="\u202e odd")
    written = export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl", clock=clock)
    assert read_manifest(tmp_path / "out.manifest.json") == written
    assert from_json(to_json(written)) == written


def test_rows_that_were_fixed_before_choosing_are_named(eight: Scored, tmp_path: Path) -> None:
    dropped = _chosen(eight)[0]
    eight.workspace.edits.apply(eight.selection_id, "drop", [dropped], author="Ada")
    curated = open_selection(eight.workspace, eight.selection_id)
    again = reoptimise(eight.workspace, curated, author="Ada")
    written = export_selection(eight.workspace, again.id, tmp_path / "out.jsonl", clock=clock)
    assert written.fixed == FixedEntry(kept=(), dropped=(dropped,))
    assert read_manifest(tmp_path / "out.manifest.json") == written
    document = json.loads(to_json(written))
    for name in ("fixed", "error_bar", "quotas", "engine", "method"):  # as it was before rows could be fixed
        del document[name]
    for entry in document["inputs"]:
        entry.pop("choices"), entry.pop("turns")
    old = from_json(json.dumps(document))
    assert old.fixed == FixedEntry() and (old.error_bar, old.quotas, old.engine, old.method) == (None,) * 4
    assert (old.pool.turns, old.pool.choices) == ("last", ()) and old.rows == written.rows


def test_a_damaged_manifest_says_where(eight: Scored, tmp_path: Path) -> None:
    document = json.loads(to_json(export_selection(eight.workspace, eight.selection_id, tmp_path / "out.jsonl")))
    for change, where in [
        ({"version": 99}, "manifest version 99"),
        ({"metric": "cosine"}, "damaged at metric"),
        ({"rows": [{"id": "x"}]}, r"damaged at rows\[0\]: Object missing required field `line`"),
        ({"seed": "1"}, "damaged at seed: Expected `int`, got `str`"),
        ({"inputs": []}, "no pool"),
    ]:
        with pytest.raises(ExportError, match=where):
            from_json(json.dumps(document | change))
    for text in ("", "[]", "{}", "[" * 100_000, '{"a":' * 100_000, '{"version": "1"}'):
        with pytest.raises(ExportError, match="is not a manifest of DELIFT Studio .*: "):
            from_json(text)
    with pytest.raises(ExportError, match="does not exist"):
        read_manifest(tmp_path / "none.manifest.json")


def _chosen(selection: Scored) -> list[str]:
    record = selection.workspace.selections.load(selection.selection_id)
    pool = selection.workspace.datasets.load(selection.workspace.runs.record(selection.run_id).spec.pool_id)
    return [pool.samples[position].id for position in record.selection.chosen]
