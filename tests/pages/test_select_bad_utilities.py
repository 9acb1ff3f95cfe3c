"""What the Select page says of utilities that say little, or nothing, or are broken."""

from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.selector import SelectionProblem
from delift_core.selection.types import ErrorBar
from delift_core.workspace import Workspace
from tests.pages.test_select import captions, metrics, open_select
from tests.rewritten import Change, hardly_helps, nothing_changes, only_distracts, rewrite


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing_changes, "No row changes the model's answer to any other, so every selection is worth the same"),
        (hardly_helps, "The rows hardly help each other"),
        (only_distracts, "No row helps the model with any other, each one only distracts it"),
    ],
)
def test_utilities_that_say_little_are_diagnosed_in_words(scored_workspace: Path, change: Change, said: str) -> None:
    rewrite(scored_workspace, change)
    app = open_select(budget_unit="rows", budget_rows="4")
    assert not app.error and metrics(app)["Chosen"] == "4"
    assert any(said in warning.value for warning in app.warning)
    if change is not hardly_helps:
        assert "Nothing is covered, so nothing can be guaranteed" in captions(app)


def test_a_target_that_no_pool_row_helps_is_said(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        run = workspace.runs.record("r1")
        assert run.spec.target_id is not None
        target = frozenset(sample.content_hash for sample in workspace.datasets.load(run.spec.target_id).samples)
    rewrite(scored_workspace, only_distracts, only=target)
    app = open_select(stage="Target task", budget_unit="rows", budget_rows="4")
    assert not app.error and metrics(app)["Chosen"] == "4"
    assert any("No pool row helps the model with any target row" in warning.value for warning in app.warning)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (np.nan, "144 pairs are missing or damaged on disk; continue the run on the Score page"),
        (np.inf, "The pool utility at row 0, column 1 is -inf: score that pair again"),
    ],
)
def test_broken_numbers_are_one_line_with_a_remedy(scored_workspace: Path, number: float, said: str) -> None:
    rewrite(scored_workspace, lambda alone, rows: np.full_like(alone, number))
    (error,) = open_select().error
    assert said in error.value.replace("\\", "")


def test_pairs_that_were_too_few_are_said_with_how_many_are_enough(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = ErrorBar(20, 0.1, 0.8, 0.7, 0.9, False, 20, 0.2, 0.3, 0.9)
    assert not bar.enough
    monkeypatch.setattr(SelectionProblem, "error_bar", lambda *_, **__: bar)
    app = open_select()
    assert any(f"score about {bar.share_needed:.0%} of the pairs" in warning.value for warning in app.warning)
