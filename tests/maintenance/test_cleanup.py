"""What `gc` takes and, above all, what it leaves: everything that something refers to survives."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.curate import open_selection
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.curation.umap_layout import layout_path
from delift_core.errors import WorkspaceError
from delift_core.export.subset_files import export_selection
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.maintenance.cleanup import Garbage, collect_garbage
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.scoring.store import PairStore, ScoringContext
from delift_core.workspace import Workspace
from tests.export.scored import CONTEXT, Scored, alpaca_lines, draw_pairs, scored
from tests.scored import make_scored_workspace


@pytest.fixture
def six(tmp_path: Path) -> Scored:
    workspace = Workspace.open(tmp_path / "work")
    return scored(workspace, tmp_path / "pool.jsonl", alpaca_lines(6))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def names(folder: Path, found: tuple[Garbage, ...]) -> set[str]:
    return {str(item.path.relative_to(folder)) for item in found}


def test_a_tidy_workspace_loses_nothing(six: Scored) -> None:
    before = files(six.workspace.folder)
    assert collect_garbage(six.workspace, dry_run=False) == ()
    assert files(six.workspace.folder) == before


def test_pairs_of_samples_that_are_gone_are_removed_and_no_others(six: Scored) -> None:
    workspace = six.workspace
    matrix = open_selection(workspace, six.selection_id).problem.utilities.pool
    strangers = [f"{number:064x}" for number in range(3)]
    draw_pairs(workspace.utility_folder, strangers, seed=1)
    before = files(workspace.folder)
    found = collect_garbage(workspace, dry_run=True)
    assert files(workspace.folder) == before
    assert len([item for item in found if item.path.parent.name == "pairs"]) == 3
    assert {item.path.parent.name for item in found} == {"pairs", "alone", "rows"}
    assert sum(item.size for item in found) == sum(item.path.stat().st_size for item in found) > 0
    assert collect_garbage(workspace, dry_run=False) == found
    assert before - files(workspace.folder) == {item.path for item in found}
    assert collect_garbage(workspace, dry_run=False) == ()
    np.testing.assert_array_equal(open_selection(workspace, six.selection_id).problem.utilities.pool, matrix)


def test_a_pack_goes_when_none_of_its_samples_is_left(six: Scored) -> None:
    workspace = six.workspace
    matrix = open_selection(workspace, six.selection_id).problem.utilities.pool
    store = PairStore(workspace.utility_folder / CONTEXT.key)
    store.compact()
    (needed,) = (store.folder / "packs").iterdir()
    strangers = [f"{number:064x}" for number in range(3)]
    store.buffer_pairs(strangers[0], strangers, np.zeros((3, 2)))
    store.flush()
    (useless,) = set((store.folder / "packs").iterdir()) - {needed}
    gone = {item.path for item in collect_garbage(workspace, dry_run=False)}
    assert useless in gone and needed not in gone and not useless.exists()
    np.testing.assert_array_equal(open_selection(workspace, six.selection_id).problem.utilities.pool, matrix)


def test_pairs_stay_while_their_samples_do_though_the_run_is_gone(six: Scored) -> None:
    workspace = six.workspace
    workspace.selections.delete(six.selection_id)
    pool_id = workspace.runs.record(six.run_id).spec.pool_id
    workspace.runs.delete(six.run_id)
    assert names(workspace.folder, collect_garbage(workspace, dry_run=False)) == {f"jobs/{six.run_id}"}
    workspace.datasets.delete(pool_id)
    assert names(workspace.folder, collect_garbage(workspace, dry_run=False)) == {f"utility/{CONTEXT.key}"}
    assert not (workspace.utility_folder / CONTEXT.key).exists()


def test_files_that_were_not_finished_are_removed(six: Scored) -> None:
    workspace = six.workspace
    leftovers = {
        workspace.exports_folder / ".out.jsonl.abc.part",
        workspace.jobs_folder / six.run_id / ".progress.json.12",
        workspace.utility_folder / CONTEXT.key / "pairs" / ".tmpabc",
        workspace.utility_folder / CONTEXT.key / "maps" / ".embeddings.npy",
        workspace.evaluations_folder / "s1.abc" / ".status.json.12",
        workspace.evaluations_folder / "runs" / ".arm.npz",
    }
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    evaluate(workspace, "s1.abc")
    assert {item.path for item in collect_garbage(workspace, dry_run=False)} == leftovers
    assert not any(path.exists() for path in leftovers)


def evaluate(workspace: Workspace, name: str) -> set[Path]:
    """The files of an evaluation, and of an arm that it may share with others."""
    folder, arms = workspace.evaluations_folder / name, workspace.evaluations_folder / "runs"
    made = {folder / "request.json", folder / "status.json", folder / "report.json", arms / "0123.npz"}
    made.add(folder / "adapter" / "weights.safetensors")
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return made


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run on a budget; tests work on copies."""
    folder = tmp_path_factory.mktemp("budgeted")
    make_scored_workspace(folder / "work", folder / "model", "40%")
    return folder / "work"


def test_everything_that_something_refers_to_survives(budgeted: Path, tmp_path: Path) -> None:
    """Two runs on budgets in one context: plans, matrices in two metrics, maps, selections, evaluations, exports."""
    shutil.copytree(budgeted, tmp_path / "work")
    with Workspace.open(tmp_path / "work") as workspace:
        other = run_here(workspace, replace(workspace.runs.record("r1").spec, pairs=parse_pairs("k=3")))
        made, matrices = {}, {}
        for run_id in ("r1", other.id):
            run = open_run(workspace, run_id)
            matrices[run_id] = [run.utilities(metric).pool.toarray() for metric in ("euclidean", "pmi")]
            layout_path(run).parent.mkdir(exist_ok=True)
            np.save(layout_path(run), np.zeros((len(run.pool), 2), dtype=np.float32))
            made[run_id] = {path for path in run.derived_files() if path.exists()}
            assert {path.parent.name for path in made[run_id]} == {"plans", "assembled"} and len(made[run_id]) == 3
        evaluate(workspace, "s1.abc")
        selector = Selector(open_run(workspace, "r1"))
        export_selection(workspace, "s1", workspace.exports_folder / "out.jsonl", selector=selector)
        before = files(workspace.folder)
        assert collect_garbage(workspace, dry_run=False) == () and files(workspace.folder) == before
        workspace.runs.delete(other.id)
        gone = collect_garbage(workspace, dry_run=False)
        # Its map stays: it is of the same rows, and so that of the other run as well.
        assert {item.path for item in gone} == made[other.id] | {workspace.jobs_folder / other.id}
        for found, kept in zip(("euclidean", "pmi"), matrices["r1"], strict=True):
            np.testing.assert_array_equal(open_run(workspace, "r1").utilities(found).pool.toarray(), kept)  # type: ignore[arg-type]


def test_a_run_that_is_to_be_continued_keeps_every_plan_of_its_context(budgeted: Path, tmp_path: Path) -> None:
    shutil.copytree(budgeted, tmp_path / "work")
    with Workspace.open(tmp_path / "work") as workspace:
        (plan,) = (workspace.utility_folder).glob("*/plans/*.npz")
        stranger = plan.with_name("0123456789abcdef.npz")
        stranger.write_bytes(plan.read_bytes())
        workspace.runs.add(replace(workspace.runs.record("r1").spec, pairs=parse_pairs("k=3")))
        assert collect_garbage(workspace, dry_run=False) == ()
        workspace.runs.delete("r2")
        assert [item.path for item in collect_garbage(workspace, dry_run=False)] == [stranger]


def test_evaluations_go_with_their_selection_and_arms_with_the_last_evaluation(six: Scored) -> None:
    workspace, folder = six.workspace, six.workspace.evaluations_folder
    kept = evaluate(workspace, f"{six.selection_id}.abc")
    evaluate(workspace, "s99.abc")
    assert [item.path for item in collect_garbage(workspace, dry_run=False)] == [folder / "s99.abc"]
    assert kept <= files(folder)
    workspace.selections.delete(six.selection_id)
    gone = {item.path for item in collect_garbage(workspace, dry_run=False)}
    assert gone == {folder / f"{six.selection_id}.abc", folder / "runs"} and files(folder) == set()


def test_nothing_is_removed_while_an_evaluation_goes_on(six: Scored) -> None:
    evaluate(six.workspace, "s1.abc")
    JobFolder(six.workspace.evaluations_folder / "s1.abc").claim(os.getpid())
    with pytest.raises(WorkspaceError, match="the evaluation of s1 is running"):
        collect_garbage(six.workspace, dry_run=True)


def test_nothing_is_removed_while_a_job_is_at_work(six: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobFolder(six.workspace.jobs_folder / six.run_id)
    job.write_progress(JobProgress("scoring"))
    job.claim(os.getpid())
    with pytest.raises(WorkspaceError, match="is being scored"):
        collect_garbage(six.workspace, dry_run=True)


def test_a_folder_that_is_no_store_of_ours_is_not_read_as_one(six: Scored) -> None:
    other = ScoringContext("m", "r", "float32", "chat", 1, 8).key
    (six.workspace.utility_folder / other).mkdir()
    assert names(six.workspace.folder, collect_garbage(six.workspace, dry_run=False)) == {f"utility/{other}"}
