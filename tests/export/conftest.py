"""Fixtures of the export tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from delift_core.workspace import Workspace
from tests.export.scored import Scored, alpaca_lines, clock, scored


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "work", clock=clock) as opened:
        yield opened


@pytest.fixture
def eight(workspace: Workspace, tmp_path: Path) -> Scored:
    """Eight rows, of which the last does not fit the model, and a selection of three."""
    return scored(workspace, tmp_path / "pool.jsonl", alpaca_lines(8), refuse=[7])
