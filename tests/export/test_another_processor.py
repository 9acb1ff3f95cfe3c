"""`rerun` where float arithmetic rounds otherwise: utilities whose last digits differ, in data full of ties.

Utilities are drawn here as multiples of 1/8 and each machine adds its own noise, so that ties break one way on one
machine and another way on the other, while anything but a tie is 250,000 times the noise apart.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.selector import Selector
from delift_core.evaluation.subset_evaluation import arm_request
from delift_core.export.subset_files import export_selection
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.scoring.metrics import Metric
from delift_core.selection.kernels import Kernel
from delift_core.selection.request import is_installed, objective_of
from delift_core.workspace import Workspace
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

N = 24
NOISE = 5e-7
as_measured = ScoredRun.utilities


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processors")
    save_model(folder / "tiny")
    for name, count in (("pool", N), ("target", 3)):
        rows = [{"instruction": f"Say {row} ({name})", "output": f"It is {row}."} for row in range(count)]
        lines = "".join(f"{json.dumps(row | {'kind': 'ab'[row['output'] > 'It is 2']})}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    return folder


Machine = Callable[..., None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Goes on as a machine of its own noise."""

    def machine(seed: int, noise: float = NOISE, lost: int = 0) -> None:
        def utilities(run: ScoredRun, metric: Metric) -> Utilities:
            found = as_measured(run, metric)
            pool = drawn(found.pool, 0, seed, noise, lost)
            target = None if found.target is None else drawn(found.target, 1, seed, noise, 0)
            return replace(found, pool=pool, target=target, diagonal=np.zeros(N, dtype=np.float32))

        monkeypatch.setattr(ScoredRun, "utilities", utilities)

    return machine


def drawn(like: Kernel, which: int, seed: int, noise: float, lost: int) -> Kernel:
    """Multiples of 1/8 and noise in the form of a matrix; of a sparse one so many entries are lost."""
    exact = np.random.default_rng(which).integers(-2, 5, like.shape) / 8
    other = np.random.default_rng((which, seed)).uniform(-noise, noise, like.shape)
    values = (exact + other).astype(np.float32)
    if isinstance(like, np.ndarray):
        return np.where(np.isnan(like), np.nan, values).astype(np.float32)
    kept = like.copy()
    kept.data = values[np.repeat(np.arange(like.shape[0]), np.diff(like.indptr)), like.indices]
    kept.data[np.random.default_rng(seed).permutation(len(kept.data))[:lost]] = 0
    return kept


def curate(folder: Path, name: str, *words: str, stage: str = "instruction") -> Path:
    common = ["curate", str(folder / "pool.jsonl"), "--stage", stage, "--model", str(folder / "tiny"), "--seed", "3"]
    if stage == "task":
        common += ["--target", str(folder / "target.jsonl")]
    assert main([*common, "--workspace", str(folder / "w"), "--out", str(folder / f"{name}.jsonl"), *words]) == 0
    return folder / f"{name}.manifest.json"


def rerun(manifest: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, Path]:
    out = manifest.with_name(f"{manifest.name.partition('.')[0]}-again.jsonl")
    capsys.readouterr()
    code = main(["rerun", str(manifest), "--out", str(out), "--workspace", str(manifest.parent / "elsewhere"), *words])
    return code, capsys.readouterr().out, out


REFERENCE = ("reference", ("--budget", "8", "--engine", "submodlib"), "instruction")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words", "stage"),
    [
        ("rows", ("--budget", "8"), "instruction"),
        ("percent", ("--budget", "30%"), "task"),
        ("published", ("--budget", "8", "--preset", "published"), "task"),
        ("nats", ("--budget", "8", "--metric", "pmi"), "instruction"),
        ("tokens", ("--budget", "400tok"), "instruction"),
        ("quotas", ("--budget", "8", "--quota", "kind:a=2.."), "instruction"),
        *([REFERENCE] if is_installed("submodlib") else []),
        ("pairs", ("--budget", "8", "--pairs", "60%"), "instruction"),
    ],
)
def test_ties_that_break_otherwise_lead_to_the_same_file(
    folder: Path, capsys: pytest.CaptureFixture[str], on: Machine, name: str, words: tuple[str, ...], stage: str
) -> None:
    on(1)
    manifest = curate(folder, name, *words, stage=stage)
    rows = read_manifest(manifest).rows
    partings = 0
    for seed in (2, 3):
        on(seed, lost=2 if name == "pairs" else 0)
        code, told, again = rerun(manifest, capsys)
        assert code == 0, told
        assert again.read_bytes() == (folder / f"{name}.jsonl").read_bytes() and "identical bit for bit" in told
        made = read_manifest(again.with_name(f"{name}-again.manifest.json"))
        assert [(row.rank, row.greedy_rank, row.status) for row in made.rows if row.rank] == [
            (row.rank, row.greedy_rank, row.status) for row in rows if row.rank
        ]
        assert made.engine == read_manifest(manifest).engine
        partings += "this machine would have picked" in told
    assert partings > 0  # else there was nothing to settle


def test_the_rows_of_then_are_said_in_one_line_and_in_json(
    folder: Path, capsys: pytest.CaptureFixture[str], on: Machine
) -> None:
    on(1)
    manifest = curate(folder, "said", "--budget", "8")
    on(2)
    code, told, _ = rerun(manifest, capsys)
    (line,) = (line for line in told.splitlines() if "Chosen rows" in line)
    assert code == 0
    said = (
        "Chosen rows: those of the manifest; this machine would have picked [1-8] of 8 rows otherwise, by ties within "
    )
    assert re.fullmatch(rf"ok    {said}rounding \(gains agree with the manifest's to \de-0[67]\)", line)
    code, told, _ = rerun(manifest, capsys, "--json")
    document = json.loads(told)
    assert code == 0 and document["ok"] and document["checks"][2]["detail"] == line.split(": ", 1)[1]


def test_on_the_same_machine_nothing_is_settled(folder: Path, capsys: pytest.CaptureFixture[str], on: Machine) -> None:
    on(1)
    manifest = curate(folder, "same", "--budget", "8")
    code, told, _ = rerun(manifest, capsys)
    assert code == 0 and "Chosen rows: unchanged" in told


def test_a_device_that_this_machine_lacks_is_no_obstacle(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    manifest = curate(folder, "mac", "--budget", "8")
    document = json.loads(manifest.read_text("utf-8"))
    document["model"]["device"] = "mps"
    manifest.write_text(json.dumps(document), "utf-8")
    assert rerun(manifest, capsys)[0] == 0


def test_other_utilities_are_no_rounding(folder: Path, capsys: pytest.CaptureFixture[str], on: Machine) -> None:
    on(1)
    manifest = curate(folder, "other", "--budget", "8")
    document = json.loads(manifest.read_text("utf-8"))
    document["versions"][0]["version"] = "0.0.1"
    manifest.write_text(json.dumps(document), "utf-8")
    on(2, noise=0.05)
    code, told, again = rerun(manifest, capsys)
    (line,) = (line for line in told.splitlines() if "Chosen rows" in line)
    assert code == 1 and again.read_bytes() != (folder / "other.jsonl").read_bytes()
    assert line.startswith("FAIL  Chosen rows: this machine picked line") and " instead of line" in line
    assert "gains differ from the manifest's by up to 0." in line and ", and rounding explains " in line
    assert "delift-studio 0.0.1 then" in line


@pytest.mark.parametrize(
    ("part", "changed", "said"),
    [
        ("method", {"name": "delift"}, "pick 1 is no tie, since line"),
        ("method", {"name": "longest"}, "(at most 1 rows may differ; gains agree"),
        ("budget", {"unit": "tokens", "amount": 400.0}, "and the manifest's rows are worth"),
    ],
)
def test_rows_that_were_not_chosen_so_are_no_tie(
    folder: Path, capsys: pytest.CaptureFixture[str], on: Machine, part: str, changed: dict[str, object], said: str
) -> None:
    """The worst rows, with their true numbers, in the name of what would never have chosen them."""
    on(1)
    curate(folder, "honest", "--budget", "8")
    with Workspace.open(folder / "w") as workspace:
        run_id = workspace.selections.records()[-1].run_id
        selector = Selector(open_run(workspace, run_id))
        problem = selector.problem("euclidean", objective_of("default", "instruction"))
        worst = selector.select(arm_request(problem, "random", problem.greedy.order[::-1][:8].tolist()))
        kept = workspace.selections.add(run_id, worst, name="worst", metric="euclidean", seed=0)
        export_selection(workspace, kept.id, folder / "forged.jsonl")
    manifest = folder / "forged.manifest.json"
    document = json.loads(manifest.read_text("utf-8"))
    document["method"]["name"] = "delift"
    document[part] |= changed
    manifest.write_text(json.dumps(document), "utf-8")
    on(2)
    code, told, _ = rerun(manifest, capsys)
    assert code == 1 and said in told


def test_a_manifest_that_lost_a_row_or_all_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], on: Machine
) -> None:
    on(1)
    manifest = curate(folder, "lost", "--budget", "8")
    document = json.loads(manifest.read_text("utf-8"))
    for least, said in ((8, "8 rows are chosen here and the manifest has 7"), (1, "and the manifest has 0")):
        for row in document["rows"]:
            if row["rank"] and row["rank"] >= least:
                row["rank"] = row["gain"] = None
        manifest.write_text(json.dumps(document), "utf-8")
        code, told, _ = rerun(manifest, capsys)
        assert code == 1 and said in told


def test_another_method_may_pick_one_row_otherwise(
    folder: Path, capsys: pytest.CaptureFixture[str], on: Machine
) -> None:
    on(1)
    manifest = curate(folder, "mean", "--budget", "8", "--method", "column-mean")
    on(2)
    code, told, again = rerun(manifest, capsys)
    assert code == 0 and again.read_bytes() == (folder / "mean.jsonl").read_bytes()
    assert read_manifest(again.with_name("mean-again.manifest.json")).method == read_manifest(manifest).method
