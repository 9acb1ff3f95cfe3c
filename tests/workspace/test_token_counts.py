"""Token counts belong to a data set and a tokenizer, wholly."""

from collections.abc import Callable

import numpy as np
import pytest

from delift_core.errors import WorkspaceError
from delift_core.samples import Dataset
from delift_core.workspace import TokenCounts, Workspace

Make = Callable[..., Dataset]


def counts(prompt: list[int], response: list[int]) -> TokenCounts:
    return TokenCounts(np.array(prompt), np.array(response))


def test_counts_come_back_by_tokenizer(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset(), role="pool", origin="")
    assert workspace.token_counts.get(record.id, "a") is None
    workspace.token_counts.put(record.id, "a", counts([1, 2], [3, 4]))
    workspace.token_counts.put(record.id, "b", counts([5, 6], [7, 8]))
    workspace.token_counts.put(record.id, "a", counts([9, 0], [2**40, 1]))
    for key, prompt, response in (("a", [9, 0], [2**40, 1]), ("b", [5, 6], [7, 8])):
        found = workspace.token_counts.get(record.id, key)
        assert found is not None
        assert (found.prompt.tolist(), found.response.tolist()) == (prompt, response)
        assert found.prompt.dtype == found.response.dtype == np.int64


def test_counts_that_do_not_fit_are_refused(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset(), role="pool", origin="")
    with pytest.raises(WorkspaceError, match="has 2 samples"):
        workspace.token_counts.put(record.id, "a", counts([1], [2]))
    with pytest.raises(WorkspaceError, match="no data set"):
        workspace.token_counts.put("pool-none", "a", counts([1], [2]))
    assert workspace.token_counts.get(record.id, "a") is None


def test_counts_go_with_their_data_set(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset(), role="pool", origin="")
    workspace.token_counts.put(record.id, "a", counts([1, 2], [3, 4]))
    workspace.datasets.delete(record.id)
    assert workspace.token_counts.get(record.id, "a") is None
