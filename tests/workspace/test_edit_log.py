"""The edit log against a simple model of lists; it survives restarts and sudden death."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from delift_core.data.loading import Dataset
from delift_core.errors import WorkspaceError
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

CORE = str(Path(__file__).parents[2])


@pytest.fixture
def selection(workspace: Workspace, fill: Callable[..., str]) -> str:
    return fill(workspace)


@pytest.fixture
def ids(workspace: Workspace, selection: str) -> list[str]:
    pool = workspace.runs.record(workspace.selections.load(selection).run_id).spec.pool_id
    return [sample.id for sample in workspace.datasets.load(pool).samples]


def test_one_event_for_many_rows_with_who_when_what_why(workspace: Workspace, selection: str, ids: list[str]) -> None:
    assert workspace.edits.history(selection) == ()
    number = workspace.edits.apply(selection, "drop", [ids[2], ids[0], ids[2]], author="Ada", why="wrong\0 😀")
    assert number == 1
    (edit,) = workspace.edits.history(selection)
    assert (edit.selection_id, edit.number, edit.action, edit.state) == (selection, 1, "drop", "applied")
    assert (edit.sample_ids, edit.author, edit.why) == ((ids[2], ids[0]), "Ada", "wrong\0 😀")
    assert edit.created_at > workspace.selections.load(selection).created_at
    assert workspace.edits.overrides(selection) == {ids[0]: "drop", ids[2]: "drop"}


def test_later_edits_win_and_reset_gives_back(workspace: Workspace, selection: str, ids: list[str]) -> None:
    workspace.edits.apply(selection, "drop", ids[:3], author="a")
    workspace.edits.apply(selection, "keep", ids[1:2], author="a")
    workspace.edits.apply(selection, "reset", ids[2:4], author="a")
    assert workspace.edits.overrides(selection) == {ids[0]: "drop", ids[1]: "keep"}


def test_a_new_edit_discards_what_was_undone_but_keeps_it_in_the_log(
    workspace: Workspace, selection: str, ids: list[str]
) -> None:
    for sample_id in ids[:3]:
        workspace.edits.apply(selection, "drop", [sample_id], author="a")
    undone = [workspace.edits.undo(selection), workspace.edits.undo(selection)]
    assert [edit and (edit.number, edit.state) for edit in undone] == [(3, "undone"), (2, "undone")]
    assert (workspace.edits.can_undo(selection), workspace.edits.can_redo(selection)) == (1, 2)
    assert workspace.edits.apply(selection, "keep", ids[4:5], author="b") == 4
    assert workspace.edits.redo(selection) is None
    assert [edit.state for edit in workspace.edits.history(selection)] == [
        "applied",
        "discarded",
        "discarded",
        "applied",
    ]
    assert workspace.edits.overrides(selection) == {ids[0]: "drop", ids[4]: "keep"}


def test_undo_and_redo_survive_a_restart(workspace: Workspace, selection: str, ids: list[str]) -> None:
    workspace.edits.apply(selection, "drop", ids[:1], author="a")
    workspace.edits.apply(selection, "drop", ids[1:2], author="a")
    workspace.edits.undo(selection)
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        redone = again.edits.redo(selection)
        assert redone is not None and redone.number == 2
        assert again.edits.overrides(selection) == {ids[0]: "drop", ids[1]: "drop"}
        assert again.edits.undo(selection) is not None and again.edits.undo(selection) is not None
        assert again.edits.undo(selection) is None
        assert again.edits.overrides(selection) == {}


def test_refused_edits_change_nothing(workspace: Workspace, selection: str, ids: list[str]) -> None:
    workspace.edits.apply(selection, "drop", ids[:1], author="a")
    workspace.edits.undo(selection)
    before = workspace.edits.history(selection)
    with pytest.raises(WorkspaceError, match="names no sample"):
        workspace.edits.apply(selection, "drop", [], author="a")
    with pytest.raises(WorkspaceError, match="sample 'stranger' is not in the pool"):
        workspace.edits.apply(selection, "drop", [ids[0], "stranger"], author="a")
    with pytest.raises(WorkspaceError, match="no selection 's99'"):
        workspace.edits.apply("s99", "drop", ids[:1], author="a")
    assert workspace.edits.history(selection) == before
    assert workspace.edits.can_redo(selection) == 1


def test_unknown_selections_are_clear_errors(workspace: Workspace) -> None:
    log = workspace.edits
    for call in (log.undo, log.redo, log.overrides, log.history, log.can_undo, log.can_redo):
        with pytest.raises(WorkspaceError, match="no selection 's99'"):
            call("s99")


def test_selections_do_not_share_edits(workspace: Workspace, selection: str, ids: list[str]) -> None:
    run = workspace.selections.load(selection)
    other = workspace.selections.add(run.run_id, run.selection, name="other", metric="m", seed=0).id
    workspace.edits.apply(selection, "drop", ids[:1], author="a")
    assert workspace.edits.undo(other) is None
    assert workspace.edits.apply(other, "keep", ids[1:2], author="a") == 1
    assert workspace.edits.overrides(selection) == {ids[0]: "drop"}
    assert workspace.edits.overrides(other) == {ids[1]: "keep"}


def test_threads_edit_one_selection(workspace: Workspace, selection: str, ids: list[str]) -> None:
    """Four threads edit and read at once: every edit is there once, numbers have no gap, no read is torn."""
    pool = workspace.datasets.records()[0].id

    def work(mine: int) -> None:
        for turn in range(10):
            workspace.edits.apply(selection, "drop", ids, author=str(mine), why=str(turn))
            assert len(workspace.edits.overrides(selection)) == len(ids)
            page = workspace.datasets.page(pool, search=f"answer {mine}", limit=9)
            assert [row.sample.response for row in page.rows] == [f"answer {mine}"]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))  # raises what a thread raised
    history = workspace.edits.history(selection)
    assert [edit.number for edit in history] == list(range(1, 41))
    assert sorted((edit.author, int(edit.why)) for edit in history) == [
        (str(mine), turn) for mine in range(4) for turn in range(10)
    ]


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from delift_core.workspace import Workspace
workspace = Workspace.open(Path(sys.argv[2]))
pool = workspace.runs.records()[0].spec.pool_id
ids = [sample.id for sample in workspace.datasets.load(pool).samples]
for turn in range(10**6):
    number = workspace.edits.apply("s1", "drop", ids, author="child", why=str(turn))
    print(number, flush=True)
    if turn % 3 == 2:
        workspace.edits.undo("s1")  # the next edit discards it: two statements in one transaction
"""


@pytest.mark.slow
@pytest.mark.parametrize("lines_before_death", [1, 17])
def test_kill_in_the_middle_of_writes_loses_no_committed_edit(
    workspace: Workspace, fill: Callable[..., str], lines_before_death: int
) -> None:
    selection = fill(workspace, n_pool=300)
    assert selection == "s1"
    workspace.close()
    command = [sys.executable, "-c", CHILD, CORE, str(workspace.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(lines_before_death)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
    committed = [int(line) for line in lines if line.endswith("\n")]
    with Workspace.open(workspace.folder) as again:
        history = again.edits.history("s1")
        numbers = [edit.number for edit in history]
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers[: len(committed)] == committed and len(numbers) - len(committed) in (0, 1)
        assert {len(edit.sample_ids) for edit in history} == {300}
        states = [edit.state for edit in history]
        assert "undone" not in states[:-1]  # an undone edit with a later one is discarded in the same step
        assert all(state == ("discarded" if turn % 3 == 2 else "applied") for turn, state in enumerate(states[:-1]))
        assert again.edits.apply("s1", "keep", history[0].sample_ids[:1], author="after") == len(numbers) + 1


SAMPLES = with_ids([ParsedRecord((Message("assistant", text),), "{}", "s", 1) for text in "abcdef"])
IDS = [sample.id for sample in SAMPLES]
SELECTION = Selection(
    config=ObjectiveConfig("instruction"),
    budget=Budget("rows", 1.0),
    chosen=np.array([0]),
    chosen_gains=np.array([1.0]),
    greedy=GreedyOrder(np.arange(6), np.ones(6)),
    residual_gains=np.zeros(6),
    certificate=Certificate(1.0, 1.0),
    random=RandomBaseline(()),
)


class EditLogMachine(RuleBasedStateMachine):
    """The log does what two lists, done and undone, would do."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace.open(Path(self.folder.name))
        pool = self.workspace.datasets.add(Dataset("d", "messages", None, SAMPLES), role="pool")
        run = self.workspace.runs.add(RunSpec(pool.id, None, None, "m", "auto", "cpu", "float32"))
        self.selection = self.workspace.selections.add(run.id, SELECTION, name="n", metric="m", seed=0).id
        self.done: list[tuple[int, str, tuple[str, ...]]] = []
        self.undone: list[tuple[int, str, tuple[str, ...]]] = []
        self.discarded: list[int] = []
        self.count = 0
        self.seen: dict[tuple[int, int], list[tuple[int, str, tuple[str, ...]]]] = {}

    @rule(
        action=st.sampled_from(["keep", "drop", "reset"]),
        chosen=st.lists(st.sampled_from(IDS), min_size=1, unique=True),
    )
    def apply(self, action: str, chosen: list[str]) -> None:
        self.count += 1
        assert self.workspace.edits.apply(self.selection, action, chosen, author="a") == self.count
        self.done.append((self.count, action, tuple(chosen)))
        self.discarded += [number for number, _, _ in self.undone]
        self.undone.clear()

    @rule()
    def undo(self) -> None:
        edit = self.workspace.edits.undo(self.selection)
        if not self.done:
            assert edit is None
            return
        expected = self.done.pop()
        assert edit is not None and (edit.number, edit.action, edit.sample_ids) == expected
        self.undone.append(expected)

    @rule()
    def redo(self) -> None:
        edit = self.workspace.edits.redo(self.selection)
        if not self.undone:
            assert edit is None
            return
        expected = self.undone.pop()
        assert edit is not None and (edit.number, edit.action, edit.sample_ids) == expected
        self.done.append(expected)

    @precondition(lambda self: self.count > 2)
    @rule()
    def restart(self) -> None:
        self.workspace.close()
        self.workspace = Workspace.open(Path(self.folder.name))

    @invariant()
    def agrees(self) -> None:
        log, expected = self.workspace.edits, {}
        for _, action, chosen in self.done:
            for sample_id in chosen:
                expected.pop(sample_id, None)
                if action != "reset":
                    expected[sample_id] = action
        assert log.overrides(self.selection) == expected
        standing = log.current(self.selection)
        assert standing.version == log.version(self.selection) and standing.overrides == expected
        assert self.seen.setdefault(standing.version, list(self.done)) == self.done  # equal versions, equal edits
        assert (log.can_undo(self.selection), log.can_redo(self.selection)) == (len(self.done), len(self.undone))
        states = {number: "applied" for number, _, _ in self.done}
        states |= {number: "undone" for number, _, _ in self.undone}
        states |= dict.fromkeys(self.discarded, "discarded")
        history = log.history(self.selection)
        assert {edit.number: edit.state for edit in history} == states
        assert [edit.number for edit in history] == list(range(1, self.count + 1))

    def teardown(self) -> None:
        if hasattr(self, "workspace"):
            self.workspace.close()
            self.folder.cleanup()


TestEditLogMachine = pytest.mark.slow(EditLogMachine.TestCase)
TestEditLogMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
