"""Selections come back bit for bit; what hangs on them goes with them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from delift_core.data.loading import Dataset
from delift_core.errors import WorkspaceError
from delift_core.selection.methods import METHODS
from delift_core.selection.types import (
    Budget,
    Certificate,
    GreedyOrder,
    ObjectiveConfig,
    Quota,
    Quotas,
    RandomBaseline,
    Scaling,
    Selection,
    Stage,
)
from delift_core.workspace import RunSpec, Workspace

Make = Callable[..., Selection]

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False)


def positions(n: int) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(np.int64, n, elements=st.integers(-(2**63), 2**63 - 1))


def gains(n: int) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(np.float64, n, elements=FLOATS)


QUOTAS = st.none() | st.builds(
    Quotas,
    st.text(),
    st.lists(st.builds(Quota, st.text(), st.integers(0, 9), st.none() | st.integers(0, 9)), max_size=3).map(tuple),
    positions(4),
)

SELECTIONS = st.integers(0, 6).flatmap(
    lambda n: st.builds(
        Selection,
        config=st.builds(
            ObjectiveConfig,
            st.sampled_from(get_args(Stage)),
            *(FINITE, FINITE, FINITE),
            st.sampled_from(get_args(Scaling)),
        ),
        budget=st.builds(Budget, st.sampled_from(["rows", "percent", "tokens"]), FINITE),
        chosen=positions(n),
        chosen_gains=gains(n),
        greedy=st.builds(GreedyOrder, positions(n + 3), gains(n + 3)),
        residual_gains=gains(n + 3),
        certificate=st.builds(Certificate, FINITE, FINITE),
        random=st.builds(RandomBaseline, st.lists(FLOATS, max_size=4).map(tuple)),
        quotas=QUOTAS,
        engine=st.sampled_from(["auto", "submodlib", "stochastic:0.1", "partitioned:4"]),
        method=st.sampled_from(["delift", "given", *METHODS]),
    )
)


def bits(selection: Selection) -> tuple[Any, ...]:
    arrays = (
        selection.chosen,
        selection.chosen_gains,
        selection.greedy.order,
        selection.greedy.gains,
        selection.residual_gains,
        np.array(selection.random.values, dtype=np.float64),
    )
    quotas = selection.quotas
    return (
        quotas if quotas is None else (quotas.column, quotas.groups, quotas.codes.dtype, quotas.codes.tobytes()),
        selection.config,
        selection.budget,
        selection.certificate,
        selection.engine,
        selection.method,
        *((array.dtype, array.shape, array.tobytes()) for array in arrays),
    )


@pytest.fixture(scope="module")
def run_id(lasting: Workspace, make_dataset: Callable[..., Dataset]) -> str:
    pool = lasting.datasets.add(make_dataset(), role="pool")
    return lasting.runs.add(RunSpec(pool.id, None, None, "m", "auto", "cpu", "float32")).id


@settings(deadline=None, max_examples=30)
@given(selection=SELECTIONS, seed=st.integers(0, 2**63 - 1))
def test_any_selection_comes_back_bit_for_bit(lasting: Workspace, run_id: str, selection: Selection, seed: int) -> None:
    added = lasting.selections.add(run_id, selection, name="n", metric="pmi", seed=seed)
    loaded = lasting.selections.load(added.id)
    for record in (added, loaded):
        assert bits(record.selection) == bits(selection)
        assert (record.run_id, record.name, record.metric, record.seed) == (run_id, "n", "pmi", seed)
    assert loaded.selection.chosen.flags.writeable
    summary = lasting.selections.records()[0]
    assert (summary.id, summary.config, summary.budget, summary.certificate) == (
        added.id,
        selection.config,
        selection.budget,
        selection.certificate,
    )
    assert summary.method == selection.method
    assert (summary.n_chosen, summary.n_pool) == (len(selection.chosen), len(selection.residual_gains))
    assert (summary.seed, summary.created_at) == (seed, loaded.created_at)


def test_numpy_numbers_are_numbers(workspace: Workspace, fill: Callable[..., str], make_selection: Make) -> None:
    run = workspace.selections.load(fill(workspace)).run_id
    numbers = replace(
        make_selection(),
        config=ObjectiveConfig("task", eta=np.float32(0.5)),
        budget=Budget("rows", np.int64(3)),
        certificate=Certificate(np.float64(1), np.float64(2)),
    )
    loaded = workspace.selections.load(
        workspace.selections.add(run, numbers, name="n", metric="pmi", seed=np.int64(5)).id
    )
    assert (loaded.selection.config.eta, loaded.selection.budget.amount, loaded.seed) == (0.5, 3.0, 5)
    assert loaded.selection.certificate == Certificate(1.0, 2.0)


def test_records_are_newest_first_and_by_run(workspace: Workspace, fill: Callable[..., str]) -> None:
    first, second = fill(workspace), fill(workspace)
    assert [record.id for record in workspace.selections.records()] == [second, first]
    run = workspace.selections.load(first).run_id
    assert [record.id for record in workspace.selections.records(run)] == [first]
    assert workspace.selections.records("r99") == ()


def test_rename(workspace: Workspace, fill: Callable[..., str]) -> None:
    selection, other = fill(workspace), fill(workspace)
    workspace.selections.rename(selection, " thirty percent ")
    assert workspace.selections.load(selection).name == "thirty percent"
    assert workspace.selections.load(other).name == "first"
    with pytest.raises(WorkspaceError, match="needs a name"):
        workspace.selections.rename(selection, "")


def test_delete_takes_edits_and_exports_of_that_selection_only(workspace: Workspace, fill: Callable[..., str]) -> None:
    gone, kept = fill(workspace), fill(workspace)
    pool = workspace.datasets.load(workspace.runs.records()[0].spec.pool_id)
    for selection in (gone, kept):
        workspace.edits.apply(selection, "drop", [pool.samples[0].id], author="me")
        workspace.exports.add(selection, path="a.jsonl", sha256="0" * 64, n_records=1, format="alpaca")
    workspace.selections.delete(gone)
    assert [record.id for record in workspace.selections.records()] == [kept]
    assert [record.selection_id for record in workspace.exports.records()] == [kept]
    assert len(workspace.edits.history(kept)) == 1
    assert fill(workspace) not in (gone, kept)


def test_exports_are_noted_newest_first(workspace: Workspace, fill: Callable[..., str]) -> None:
    one, two = fill(workspace), fill(workspace)
    first = workspace.exports.add(one, path="ä b.jsonl", sha256="a" * 64, n_records=3, format="alpaca")
    second = workspace.exports.add(two, path="c.jsonl", sha256="b" * 64, n_records=0, format="messages")
    assert workspace.exports.records() == (second, first)
    assert workspace.exports.records(one) == (first,)
    assert (first.path, first.sha256, first.n_records, first.format) == ("ä b.jsonl", "a" * 64, 3, "alpaca")
    with pytest.raises(WorkspaceError, match="no selection 's99'"):
        workspace.exports.add("s99", path="c.jsonl", sha256="", n_records=0, format="messages")


def test_unknown_ids_are_clear_errors(workspace: Workspace, make_selection: Callable[..., Selection]) -> None:
    for call in (
        lambda: workspace.selections.load("s99"),
        lambda: workspace.selections.rename("s99", "x"),
        lambda: workspace.selections.delete("s99"),
    ):
        with pytest.raises(WorkspaceError, match="no selection 's99'"):
            call()
    with pytest.raises(WorkspaceError, match="no run 'r99'"):
        workspace.selections.add("r99", make_selection(), name="x", metric="pmi", seed=0)


def test_a_selection_from_before_methods_and_scaling_is_delift_s_with_the_clamp_and_the_bonus(
    workspace: Workspace, fill: Callable[..., str]
) -> None:
    selection_id = fill(workspace)
    workspace.close()
    with duckdb.connect(str(workspace.folder / "delift.duckdb")) as connection:
        for column in ("method", "scaling", "target_help"):
            connection.execute(f"ALTER TABLE selections DROP COLUMN {column}")
        for column in ("mapping_parts", "options", "hub_commit"):
            connection.execute(f"ALTER TABLE datasets DROP COLUMN {column}")
        for column in ("template_arguments", "rendering"):
            connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        connection.execute("ALTER TABLE samples DROP COLUMN structure")
        connection.execute("DROP TABLE reads")
        connection.execute("DELETE FROM migrations WHERE version > 10")
    with Workspace.open(workspace.folder) as again:
        record, summary = again.selections.load(selection_id), again.selections.records()[0]
    config = record.selection.config
    assert (record.selection.method, config.scaling, config.target_help) == ("delift", "clamp", "bonus")
    assert (summary.method, summary.config) == ("delift", record.selection.config)
