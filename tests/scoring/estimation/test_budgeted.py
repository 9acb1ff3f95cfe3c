"""Runs on a budget of pairs: what is scored, found again, stopped, continued and grown."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.curation.reliability import error_bar
from delift_core.curation.scoring_runs import ScoredRun, open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.data.loading import Dataset
from delift_core.errors import ScoringError, Stopped
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import Callbacks
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring import blocks as blocks_module
from delift_core.scoring.block_files import read_packs
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ErrorBar, ObjectiveConfig
from delift_core.workspace import DatasetRole, RunSpec, Workspace

pytestmark = pytest.mark.slow

WORDS = (
    "red",
    "blue",
    "green",
    "ten",
    "two",
    "cat",
    "dog",
    "sun",
    "sea",
    "sky",
    "tea",
    "ice",
    "oak",
    "elm",
    "fir",
    "ash",
)
POOL = tuple((f"Say {word}" + "?" * (i % 3), f"{word} {i}") for i, word in enumerate(WORDS))
REPEATED = (*POOL, POOL[3])
TARGET, EXISTING = (("Say owl", "owl 7"), ("Say hen?", "hen")), (("Say bee", "bee 9"), ("Say ant?", "ant"), ("Hm", "x"))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "workspace") as opened:
        yield opened


def add(workspace: Workspace, rows: tuple[tuple[str, str], ...], role: DatasetRole) -> str:
    records = [
        ParsedRecord((Message("user", prompt), Message("assistant", response)), "{}", f"{role}.jsonl", line)
        for line, (prompt, response) in enumerate(rows, start=1)
    ]
    return workspace.datasets.add(Dataset(role, "alpaca", None, with_ids(records)), role=role).id


def make_spec(workspace: Workspace, model: Path, pairs: str, *, sets: bool = False) -> RunSpec:
    target, existing = (
        (add(workspace, TARGET, "target"), add(workspace, EXISTING, "existing")) if sets else (None, None)
    )
    pool = add(workspace, REPEATED, "pool")
    return RunSpec(pool, target, existing, str(model), "auto", "cpu", "float32", parse_pairs(pairs))


def score(workspace: Workspace, spec: RunSpec) -> ScoredRun:
    record = run_here(workspace, spec)
    assert record.status == "done"
    return open_run(workspace, record.id)


def packs(workspace: Workspace) -> dict[str, int]:
    """The files that hold pairs: no example has one of its own when a run has ended."""
    assert not list(workspace.utility_folder.glob("*/pairs/*"))
    return {path.name: path.stat().st_mtime_ns for path in workspace.utility_folder.glob("*/packs/*.npz")}


def pairs_on_disk(workspace: Workspace) -> int:
    """How many there are, after looking that none is there twice."""
    (folder,) = workspace.utility_folder.glob("*/packs")
    found = read_packs(folder)
    helpers = np.repeat(np.arange(len(found.index)), np.diff(found.starts))
    assert len(set(zip(helpers.tolist(), found.rows.tolist(), strict=True))) == len(found.rows)
    return len(found.rows)


def entries(matrix: csr_array) -> dict[tuple[int, int], float]:
    found = matrix.tocoo()
    return dict(zip(zip(found.row.tolist(), found.col.tolist(), strict=True), found.data.tolist(), strict=True))


def assert_same(one: Utilities, other: Utilities) -> None:
    assert entries(one.pool) == entries(other.pool)
    assert one.diagonal.tobytes() == other.diagonal.tobytes()


def test_only_the_planned_pairs_are_scored_and_they_are_those_of_a_run_of_all(
    workspace: Workspace, model_folder: Path
) -> None:
    spec = make_spec(workspace, model_folder, "40%", sets=True)
    said: list[JobProgress] = []
    record = run_here(workspace, spec, Callbacks(said.append))
    run = open_run(workspace, record.id)
    some = run.utilities("euclidean")
    n = len(POOL)
    pool_pairs, target_pairs, existing_pairs = round(n * 0.4 * (n - 1)), n, round(n * 1.2)
    planned = n + pool_pairs + target_pairs + existing_pairs
    assert record.n_pairs == planned == said[-1].total
    counts = [progress.done for progress in said]
    assert counts == sorted(counts) and counts[-1] == planned
    assert pairs_on_disk(workspace) == planned
    assert len(packs(workspace)) < 10

    everything = score(workspace, replace(spec, pairs=parse_pairs("all"))).utilities("euclidean")
    assert isinstance(some.pool, csr_array) and isinstance(everything.pool, np.ndarray)
    for part, whole in (
        (some.pool, everything.pool),
        (some.target, everything.target),
        (some.existing, everything.existing),
    ):
        assert isinstance(part, csr_array) and part.has_sorted_indices and part.dtype == np.float32
        assert part.shape == whole.shape
        for (i, j), value in entries(part).items():
            assert value == whole[i, j]
    assert some.diagonal.tobytes() == everything.diagonal.tobytes()
    # Row 16 repeats row 3: what is known of one is known of the other, and each helps the other like itself.
    twins = entries(some.pool)
    assert twins[3, 16] == twins[16, 3] == some.diagonal[3]
    assert {j for i, j in twins if i == 3} - {16} == {j for i, j in twins if i == 16} - {3}
    assert (3, 3) not in twins
    estimated = entries(some.estimated)
    assert not estimated.keys() & twins.keys()
    assert len(estimated) + len(twins) == 17 * 16


def test_more_pairs_never_score_one_twice_and_the_whole_is_dense(workspace: Workspace, model_folder: Path) -> None:
    spec = make_spec(workspace, model_folder, "k=3")
    few = entries(score(workspace, spec).utilities("pmi").pool)
    before = pairs_on_disk(workspace)
    more = score(workspace, replace(spec, pairs=parse_pairs("60%")))
    assert pairs_on_disk(workspace) > before and more.record.n_pairs > before
    again = score(workspace, spec)
    assert entries(again.utilities("pmi").pool) == few
    whole = score(workspace, replace(spec, pairs=parse_pairs("99.9%"))).utilities("pmi")
    assert isinstance(whole.pool, np.ndarray) and whole.estimated is None
    for path in again.store.folder.glob("packs/*.npz"):  # once put together, the packs are not needed
        path.unlink()
    assert entries(open_run(workspace, again.record.id).utilities("pmi").pool) == few


def test_the_worker_leaves_the_utilities_put_together_and_a_damaged_file_is_made_again(
    workspace: Workspace, model_folder: Path
) -> None:
    run = score(workspace, make_spec(workspace, model_folder, "40%", sets=True))
    (kept,) = workspace.utility_folder.glob("*/assembled/*.npz")  # before anybody looked
    written = kept.read_bytes()
    first = run.utilities("euclidean")
    for damage in (lambda: kept.unlink(), lambda: kept.write_bytes(written[: len(written) // 2])):
        damage()
        assert_same(run.utilities("euclidean"), first)
        assert kept.read_bytes()[:4] == written[:4] and len(kept.read_bytes()) == len(written)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [5, 30, 55])
def test_stopped_anywhere_and_continued_the_run_is_the_same(
    workspace: Workspace, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setitem(blocks_module.ROWS_PER_BLOCK, "cpu", 2)
    spec = make_spec(workspace, model_folder, "40%")
    left = iter(range(looks))
    with pytest.raises(Stopped):
        run_here(workspace, spec, Callbacks(stop=lambda: next(left, None) is None))
    (record,) = workspace.runs.records()
    with pytest.raises(ScoringError, match="is cancelled, not done"):
        open_run(workspace, record.id)
    kept = pairs_on_disk(workspace)
    said: list[JobProgress] = []
    assert run_here(workspace, spec, Callbacks(said.append)).id == record.id
    stopped = open_run(workspace, record.id)
    assert said[-1].done == pairs_on_disk(workspace) > kept
    with Workspace.open(tmp_path / "other") as other:
        whole = score(other, make_spec(other, model_folder, "40%"))
        assert_same(stopped.utilities("euclidean"), whole.utilities("euclidean"))


def test_a_done_run_has_nothing_to_score_and_a_lost_plan_is_made_again(
    workspace: Workspace, model_folder: Path
) -> None:
    spec = make_spec(workspace, model_folder, "40%")
    run = score(workspace, spec)
    first, kept = run.utilities("euclidean"), packs(workspace)
    (plan,) = workspace.utility_folder.glob("*/plans/*.npz")
    plan.write_bytes(b"torn")
    with pytest.raises(ScoringError, match="its plan of pairs is missing or damaged on disk; continue"):
        run.utilities("euclidean")
    assert_same(score(workspace, spec).utilities("euclidean"), first)
    assert packs(workspace) == kept


@pytest.mark.parametrize("stage", ["instruction", "task", "continual"])
def test_every_stage_selects_from_a_part_of_the_pairs(workspace: Workspace, model_folder: Path, stage: str) -> None:
    run = score(workspace, make_spec(workspace, model_folder, "40%", sets=True))
    config, selector = ObjectiveConfig(stage, self_coverage=0.5), Selector(open_run(workspace, run.record.id))
    selection = selector.select(SelectionRequest(config, Budget("percent", 30)))
    assert len(selection.chosen) == 5


def test_the_fit_is_kept_and_the_error_bar_follows_from_it(workspace: Workspace, model_folder: Path) -> None:
    run = score(workspace, make_spec(workspace, model_folder, "90%"))
    kernel, chosen = represented_kernel(ObjectiveConfig("instruction"), run.utilities("euclidean").pool), np.arange(5)

    def bar() -> tuple[bool, ErrorBar | None]:
        parts = run.partial("euclidean")
        assert parts is not None
        return parts["pool"].stored_fit is not None, error_bar(parts["pool"], kernel, run.unique_positions, chosen)

    (file,) = run.store.folder.glob("assembled/*.fit.npz")
    assert file in run.derived_files()
    from_kept = bar()
    file.write_bytes(file.read_bytes()[:-200])
    anew = bar()
    assert from_kept[0] and not anew[0]
    assert from_kept[1] is not None and from_kept[1] == anew[1]
