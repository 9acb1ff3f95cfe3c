"""Runs: asked for, followed, found again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from delift_core.data.loading import Dataset
from delift_core.errors import WorkspaceError
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.types import Selection
from delift_core.workspace import RunSpec, Workspace

Make = Callable[..., Dataset]


@pytest.fixture
def spec(workspace: Workspace, make_dataset: Make) -> RunSpec:
    pool = workspace.datasets.add(make_dataset(), role="pool")
    target = workspace.datasets.add(make_dataset(), role="target")
    return RunSpec(pool.id, target.id, None, "bundled", "auto", "cpu", "float32")


def test_a_run_from_queued_to_done(workspace: Workspace, spec: RunSpec) -> None:
    run = workspace.runs.add(spec)
    assert (run.spec, run.status, run.finished_at, run.context_key) == (spec, "queued", None, "")
    assert (run.message, run.truncated, run.n_pairs, run.model_revision) == ("", 0, 0, "")
    running = workspace.runs.update(replace(run, status="running", context_key="abc", model_revision="r1"))
    assert running == replace(run, status="running", context_key="abc", model_revision="r1")
    done = workspace.runs.update(replace(running, status="done", message="all", truncated=np.int64(3), n_pairs=4))
    assert done.finished_at is not None and done.finished_at > run.created_at
    assert done == replace(running, status="done", message="all", truncated=3, n_pairs=4, finished_at=done.finished_at)
    assert workspace.runs.set_status(run.id, "done").finished_at == done.finished_at
    assert workspace.runs.set_status(run.id, "queued") == replace(done, status="queued", finished_at=None)
    assert workspace.runs.set_status(run.id, "failed", message="").message == ""


def test_runs_survive_closing_newest_first(workspace: Workspace, spec: RunSpec) -> None:
    runs = [workspace.runs.add(spec) for _ in range(11)]
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        assert again.runs.records() == tuple(runs[::-1])
        assert again.runs.record(runs[3].id) == runs[3]


@pytest.mark.parametrize("field", ["pool_id", "target_id", "existing_id"])
def test_a_run_needs_data_sets_that_exist(workspace: Workspace, spec: RunSpec, field: str) -> None:
    with pytest.raises(WorkspaceError, match="no data set 'nowhere'"):
        workspace.runs.add(replace(spec, **{field: "nowhere"}))
    assert workspace.runs.records() == ()


def test_delete_is_refused_with_selections_and_numbers_are_not_reused(
    workspace: Workspace, spec: RunSpec, make_selection: Callable[..., Selection]
) -> None:
    run = workspace.runs.add(spec)
    selection = workspace.selections.add(run.id, make_selection(), name="mine", metric="euclidean", seed=0)
    with pytest.raises(WorkspaceError, match=r"has selections \('mine'\): delete those first"):
        workspace.runs.delete(run.id)
    workspace.selections.delete(selection.id)
    workspace.runs.delete(run.id)
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        assert again.runs.add(spec).id != run.id


def test_unknown_ids_are_clear_errors(workspace: Workspace) -> None:
    for call in (
        lambda: workspace.runs.record("r99"),
        lambda: workspace.runs.set_status("r99", "done"),
        lambda: workspace.runs.delete("r99"),
    ):
        with pytest.raises(WorkspaceError, match="no run 'r99'"):
            call()


def test_a_budget_of_pairs_is_part_of_what_a_run_is(workspace: Workspace, spec: RunSpec) -> None:
    some = replace(spec, pairs=parse_pairs("12%"))
    first, second = workspace.runs.add(spec), workspace.runs.add(some)
    assert workspace.runs.record(first.id).spec == spec
    assert workspace.runs.record(second.id).spec == some != spec
