"""Fixtures of the workspace tests: a clock that steps, small data sets, a workspace with a selection in it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from delift_core.data.loading import Dataset
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.selection.types import (
    Budget,
    Certificate,
    GreedyOrder,
    ObjectiveConfig,
    RandomBaseline,
    Selection,
)
from delift_core.workspace import RunSpec, Workspace

START = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """A clock that starts at START and steps a second at each look."""
    ticks = iter(range(10**9))
    return lambda: START + timedelta(seconds=next(ticks))


@pytest.fixture
def workspace(tmp_path: Path, clock: Callable[[], datetime]) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "work", clock=clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One workspace for all the examples of a property."""
    with Workspace.open(tmp_path_factory.mktemp("lasting")) as opened:
        yield opened


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    def make(pairs: Sequence[tuple[str, str]] = (("2+2?", "4"), ("Sky?", "blue")), name: str = "tiny") -> Dataset:
        records = [
            ParsedRecord(
                (Message("user", prompt), Message("assistant", response)), f'{{"row":{row}}}', f"{name}.jsonl", row + 1
            )
            for row, (prompt, response) in enumerate(pairs)
        ]
        return Dataset(name, "prompt-completion", None, with_ids(records))

    return make


@pytest.fixture(scope="session")
def make_selection() -> Callable[..., Selection]:
    def make(n_pool: int = 2, n_chosen: int = 1) -> Selection:
        order = np.arange(n_pool, dtype=np.int64)[::-1].copy()
        gains = np.linspace(1.0, 0.1, n_pool)
        return Selection(
            config=ObjectiveConfig("instruction"),
            budget=Budget("rows", float(n_chosen)),
            chosen=order[:n_chosen].copy(),
            chosen_gains=gains[:n_chosen].copy(),
            greedy=GreedyOrder(order, gains),
            residual_gains=np.zeros(n_pool),
            certificate=Certificate(0.5, 0.75),
            random=RandomBaseline((0.1, 0.2)),
        )

    return make


@pytest.fixture(scope="session")
def fill(make_dataset: Callable[..., Dataset], make_selection: Callable[..., Selection]) -> Callable[..., str]:
    """Puts a pool of n samples, a run and a selection into a workspace; gives the selection's id."""

    def put(workspace: Workspace, n_pool: int = 6) -> str:
        pairs = [(f"question {row}", f"answer {row}") for row in range(n_pool)]
        pool = workspace.datasets.add(make_dataset(pairs), role="pool")
        run = workspace.runs.add(RunSpec(pool.id, None, None, "bundled", "auto", "cpu", "float32"))
        selection = make_selection(n_pool, n_pool // 2)
        return workspace.selections.add(run.id, selection, name="first", metric="euclidean", seed=1).id

    return put
