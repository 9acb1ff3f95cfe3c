"""Which rows of a data set were read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from delift_core.data.loading import Dataset
from delift_core.errors import NotAllowed, WorkspaceError
from delift_core.system.access import Actor
from delift_core.workspace import Workspace


def test_marks_are_counted_once_survive_a_restart_and_go_with_the_data_set(
    tmp_path: Path, make_dataset: Callable[..., Dataset]
) -> None:
    with Workspace.open(tmp_path) as workspace:
        pool = workspace.datasets.add(make_dataset(), role="pool").id
        other = workspace.datasets.add(make_dataset([("Q", "A")], "other"), role="pool").id
        workspace.reads.add(pool, ["a", "b", "a"], reader="Ann")
        workspace.reads.add(pool, ["b"], reader="Bob")
        assert workspace.reads.count(pool) == 2 and workspace.reads.count(other) == 0
    with Workspace.open(tmp_path) as workspace:
        assert workspace.reads.ids(pool) == {"a", "b"}
        workspace.datasets.delete(pool)
        assert workspace.reads.ids(pool) == frozenset()


def test_an_unknown_data_set_and_a_viewer_are_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError):
        workspace.reads.add("stranger", ["a"], reader="Ann")
    with pytest.raises(NotAllowed):
        workspace.acting_as(Actor("eve@example.org", "viewer")).reads.add("stranger", ["a"], reader="")
