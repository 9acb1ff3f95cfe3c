"""From a manifest and a file of held-out rows to a report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from delift_core.api import EvaluationOptions, evaluate
from delift_core.curation.manifest import (
    MANIFEST_VERSION,
    InputEntry,
    Manifest,
    ManifestStatus,
    ModelEntry,
    OutputEntry,
    ResultEntry,
    RowEntry,
    to_json,
)
from delift_core.data.loading import load_file
from delift_core.errors import DataError, ExportError
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.report import EvaluationReport
from delift_core.models.loading import load_model
from delift_core.samples import Sample
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.system.callbacks import new_messages
from tests.tiny_models import save_model

WRITTEN = {1: "chosen", 3: "kept-by-hand", 4: "chosen"}

ONCE = FineTuning(epochs=1)


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"prompt": prompt, "completion": text}) + "\n" for prompt, text in pairs))
    return path


def entry(role: str, path: Path) -> InputEntry:
    dataset = load_file(path)
    return InputEntry(role, dataset.name, str(path), dataset.format, None, len(dataset), 0, dataset.content_hash, None)  # type: ignore[arg-type]


def row(position: int, sample: Sample) -> RowEntry:
    status: ManifestStatus = WRITTEN.get(position, "dropped-by-hand" if position == 0 else "dropped")  # type: ignore[assignment]
    return RowEntry(
        sample.id, sample.line, sample.source, sample.content_hash, status, None, None, None, None, None, "", ()
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def manifest(tmp_path: Path, model: Path) -> Manifest:
    pool = write(tmp_path / "pool.jsonl", [(f"Letter {n}?", "abc" * (n + 1)) for n in range(6)])
    target = write(tmp_path / "target.jsonl", [("Target?", "Yes.")])
    revision = load_model(str(model), device="cpu").identity.revision
    return Manifest(
        version=MANIFEST_VERSION,
        created_at="2025-01-01T00:00:00+00:00",
        selection_id="s1",
        selection_name="first",
        seed=0,
        output=OutputEntry("out.jsonl", "same", 3, "0" * 64),
        inputs=(entry("pool", pool), entry("target", target)),
        model=ModelEntry(str(model), revision, "float32", "cpu", 512, "plain", 1, "k", "all"),
        metric="euclidean",
        objective=ObjectiveConfig("task"),
        budget=Budget("rows", 3),
        result=ResultEntry(1.0, 1.0, 1.0, 1.0, 0.5, 0.1, 20, 0),
        versions=(),
        edits=(),
        rows=tuple(row(position, sample) for position, sample in enumerate(load_file(pool).samples)),
    )


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    return write(tmp_path / "heldout.jsonl", [(f"New {n}?", "abc") for n in range(9)] + [("Target?", "Yes.")])


def saved(tmp_path: Path, manifest: Manifest) -> Path:
    path = tmp_path / "out.manifest.json"
    path.write_text(to_json(manifest), encoding="utf-8")
    return path


def evaluate_manifest(
    path: Path,
    heldout: Path,
    *,
    against: tuple[str, ...] = ("random", "full"),
    seeds: int = 3,
    tuning: FineTuning = ONCE,
    publish: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    options = EvaluationOptions(tuning=tuning, device="cpu")
    return evaluate(path, heldout, against=against, seeds=seeds, progress=publish, options=options)


def test_the_subset_of_a_manifest_is_evaluated(tmp_path: Path, manifest: Manifest, heldout: Path) -> None:
    lines: list[str] = []
    path = saved(tmp_path, manifest)
    report = evaluate_manifest(
        path, heldout, against=("longest",), seeds=1, tuning=FineTuning(epochs=2), publish=new_messages(lines.append)
    )
    assert (report.pool_rows, report.subset_rows, report.heldout_rows) == (6, 3, 9)
    assert report.template == "plain"
    assert report.tuning.epochs == 2
    assert [str(out) for out in report.left_out] == ["heldout.jsonl, row 10: the same row is in the target"]
    assert not any(line.startswith("note") for line in lines)


@pytest.mark.slow
def test_which_rows_were_written_decides_the_numbers(tmp_path: Path, manifest: Manifest, heldout: Path) -> None:
    def subset_loss(rows: tuple[RowEntry, ...]) -> float:
        path = saved(tmp_path, replace(manifest, rows=rows))
        report = evaluate_manifest(path, heldout, against=(), seeds=1, tuning=ONCE)
        return report.arms[1].loss.value

    first = manifest.rows
    hand = tuple(replace(r, status="chosen") if r.status == "kept-by-hand" else r for r in first)
    fewer = tuple(replace(r, status="dropped-by-hand") if r.status == "kept-by-hand" else r for r in first)
    assert subset_loss(first) == subset_loss(hand)
    assert subset_loss(first) != subset_loss(fewer)


def test_a_pool_that_is_gone_is_found_beside_the_manifest_or_refused(
    tmp_path: Path, manifest: Manifest, heldout: Path
) -> None:
    away = tmp_path / "elsewhere"
    away.mkdir()
    path = saved(away, manifest)
    (tmp_path / "pool.jsonl").rename(away / "pool.jsonl")
    assert evaluate_manifest(path, heldout, against=(), seeds=1, tuning=ONCE).pool_rows == 6
    (away / "pool.jsonl").rename(away / "other.jsonl")
    with pytest.raises(DataError, match=r"pool\.jsonl' of out\.manifest\.json is gone"):
        evaluate_manifest(path, heldout)
    write(away / "pool.jsonl", [("Other?", "Yes.")])
    with pytest.raises(DataError, match=r"pool\.jsonl' of out\.manifest\.json has changed"):
        evaluate_manifest(path, heldout)


def test_what_cannot_be_checked_is_said(tmp_path: Path, manifest: Manifest, heldout: Path) -> None:
    (tmp_path / "target.jsonl").unlink()
    path = saved(tmp_path, replace(manifest, model=replace(manifest.model, revision="another")))
    lines: list[str] = []
    report = evaluate_manifest(path, heldout, against=(), seeds=1, tuning=ONCE, publish=new_messages(lines.append))
    assert report.heldout_rows == 10
    notes = [line for line in lines if line.startswith("note")]
    assert ["target" in note for note in notes] == [True, False]
    assert "revision" in notes[1]


def test_a_manifest_that_does_not_fit_its_pool_is_damaged(tmp_path: Path, manifest: Manifest, heldout: Path) -> None:
    with pytest.raises(ExportError, match="damaged at rows"):
        evaluate_manifest(saved(tmp_path, replace(manifest, rows=manifest.rows[:-1])), heldout)
    template = replace(manifest.model, template="secret")
    with pytest.raises(ExportError, match=r"damaged at model\.template: 'secret'"):
        evaluate_manifest(saved(tmp_path, replace(manifest, model=template)), heldout)
