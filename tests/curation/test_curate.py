"""Choosing again around a curator's edits."""

from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.curate import keep_selection, open_selection, reoptimise
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.data.loading import Dataset
from delift_core.errors import SelectionError
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.selection.coverage import value
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig, Quota, Quotas
from delift_core.workspace import RunSpec, Workspace
from tests.tiny_models import save_model


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    records = [
        ParsedRecord((Message("user", f"Question {i}?"), Message("assistant", f"Answer {i * i}.")), "{}", "pool", i)
        for i in range(1, 9)
    ]
    opened = Workspace.open(tmp_path / "workspace")
    pool = opened.datasets.add(Dataset("pool", "alpaca", None, with_ids(records)), role="pool")
    spec = RunSpec(pool.id, None, None, str(save_model(tmp_path / "model")), "auto", "cpu", "float32")
    run = run_here(opened, spec)
    selector = Selector(open_run(opened, run.id))
    keep_selection(opened, selector, SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 3)), name="first")
    return opened


def test_what_is_kept_stays_in_what_is_dropped_stays_out(workspace: Workspace) -> None:
    curated = open_selection(workspace, "s1")
    pool = curated.problem.run.pool
    chosen = curated.record.selection.chosen.tolist()
    outsider = next(position for position in range(8) if position not in chosen)
    workspace.edits.apply("s1", "keep", [pool[outsider].id], author="ada")
    workspace.edits.apply("s1", "drop", [pool[chosen[0]].id], author="ada")
    again = reoptimise(workspace, open_selection(workspace, "s1"), author="ada")
    assert (again.id, again.name, again.selection.budget) == ("s2", "first · round 2", Budget("rows", 3))
    assert again.selection.chosen[0] == outsider and chosen[0] not in again.selection.chosen
    assert again.selection.fixed.kept == (outsider,) and again.selection.fixed.dropped == (chosen[0],)
    assert workspace.edits.overrides("s2") == {pool[outsider].id: "keep", pool[chosen[0]].id: "drop"}
    assert "carried over from first (s1)" in workspace.edits.history("s2")[0].why
    reread = open_selection(workspace, "s2")
    assert reread.record.selection.fixed == again.selection.fixed
    assert np.array_equal(reread.subset.positions, again.selection.chosen)
    assert reread.statuses[outsider] == "kept-by-hand" and reread.statuses[chosen[0]] == "dropped-by-hand"
    assert reread.reason(outsider).startswith("Kept by hand before the others were chosen")
    assert reread.reason(chosen[0]).startswith("Dropped by hand before the others were chosen")
    third = reoptimise(workspace, reread, author="ada")
    assert third.name == "first · round 3"
    assert np.array_equal(third.selection.chosen, again.selection.chosen)
    assert tuple(reread.reason_naming(position) for position in range(8)) == reread.reasons_naming()


def test_choosing_again_keeps_to_the_quotas(workspace: Workspace) -> None:
    curated = open_selection(workspace, "s1")
    problem = curated.problem
    quotas = Quotas("half", (Quota("first", 2, 2), Quota("second", 1)), np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    request = SelectionRequest(problem.config, Budget("rows", 4), quotas=quotas)
    record = keep_selection(workspace, curated.selector, request, name="halves")
    first, second = (record.selection.chosen[quotas.codes[record.selection.chosen] == code] for code in (0, 1))
    assert (len(first), len(second)) == (2, 2)
    pool, other = problem.run.pool, int(np.setdiff1d(np.arange(4), first)[0])
    workspace.edits.apply(record.id, "keep", [pool[other].id], author="ada")
    workspace.edits.apply(record.id, "drop", [pool[int(second[0])].id], author="ada")
    again = reoptimise(workspace, open_selection(workspace, record.id), author="ada")
    assert np.bincount(quotas.codes[again.selection.chosen]).tolist() == [2, 2]
    assert other in again.selection.chosen and second[0] not in again.selection.chosen
    assert again.selection.quotas is not None and again.selection.quotas.groups == quotas.groups
    reread = open_selection(workspace, again.id)
    assert tuple(reread.reason_naming(position) for position in range(8)) == reread.reasons_naming()
    workspace.edits.apply(again.id, "keep", [row.id for row in pool[:4]], author="ada")
    with pytest.raises(SelectionError, match="are kept by hand and its quota allows 2"):
        reoptimise(workspace, open_selection(workspace, again.id), author="ada")


def test_coverage_is_the_objective_of_the_subset_edited_or_not(workspace: Workspace) -> None:
    before = open_selection(workspace, "s1")
    kernel, chosen = before.problem.kernel, before.record.selection.chosen
    assert before.coverage == pytest.approx(value(kernel, chosen))
    workspace.edits.apply("s1", "drop", [before.problem.run.pool[chosen[0]].id], author="ada")
    after = open_selection(workspace, "s1")
    assert after.coverage == value(kernel, chosen[1:])


def test_without_an_edit_there_is_nothing_to_choose_around(workspace: Workspace) -> None:
    with pytest.raises(SelectionError, match="no row was kept or dropped by hand"):
        reoptimise(workspace, open_selection(workspace, "s1"), author="ada")
    assert len(workspace.selections.records()) == 1


def test_another_method_fills_up_around_the_edits_and_rows_that_were_given_stay_in_their_order(
    workspace: Workspace,
) -> None:
    curated = open_selection(workspace, "s1")
    problem, rows = curated.problem, Budget("rows", 3)
    order = problem.order_of("longest").tolist()
    first, last = order[0], order[-1]
    by_length = SelectionRequest(problem.config, rows, method="longest")
    given = SelectionRequest(problem.config, rows, method="given", given=np.array(order[::-1]))
    for request, expected in ((by_length, [last, *order[1:3]]), (given, [last, *order[::-1][1:3]])):
        kept = keep_selection(workspace, curated.selector, request, name=request.method)
        workspace.edits.apply(kept.id, "keep", [problem.run.pool[last].id], author="ada")
        workspace.edits.apply(kept.id, "drop", [problem.run.pool[first].id], author="ada")
        again = reoptimise(workspace, open_selection(workspace, kept.id), author="ada").selection
        assert (again.method, again.chosen.tolist()) == (request.method, expected)
    with pytest.raises(SelectionError, match="cannot be chosen again"):
        SelectionRequest(problem.config, rows, method="given")
