"""Named filters of a pool."""

import pytest

from delift_core.data.loading import Dataset
from delift_core.errors import WorkspaceError
from delift_core.workspace import NamedFilter, Workspace


@pytest.fixture
def pool_id(workspace: Workspace) -> str:
    return workspace.datasets.add(Dataset("pool", "alpaca", None, ()), role="pool").id


def test_a_filter_is_saved_replaced_listed_and_deleted(workspace: Workspace, pool_id: str) -> None:
    workspace.filters.save(pool_id, " long ", "show=dropped")
    workspace.filters.save(pool_id, "code", "curate_search=def")
    workspace.filters.save(pool_id, "long", "show=chosen")
    assert workspace.filters.records(pool_id) == (
        NamedFilter("code", "curate_search=def"),
        NamedFilter("long", "show=chosen"),
    )
    workspace.filters.delete(pool_id, "code")
    assert [saved.name for saved in workspace.filters.records(pool_id)] == ["long"]
    workspace.datasets.delete(pool_id)
    assert workspace.filters.records(pool_id) == ()


def test_what_is_not_there_or_has_no_name_is_refused(workspace: Workspace, pool_id: str) -> None:
    for refused in (
        lambda: workspace.filters.save(pool_id, "  ", "x"),
        lambda: workspace.filters.save("stranger", "x", "x"),
        lambda: workspace.filters.delete(pool_id, "none"),
    ):
        with pytest.raises(WorkspaceError):
            refused()
