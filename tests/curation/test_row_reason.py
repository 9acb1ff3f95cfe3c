"""Reasons in words: what counts as weak help, and what a reason says of pairs that were not scored."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from delift_core.curation.row_reason import row_reason, scale_of
from delift_core.selection.explain import ChosenReason, DroppedReason, Help, MissedHelp

# Column 0 helps row 1 a lot and row 2 a little; harm is at most 0.1.
POOL = np.array(
    [[np.nan, -0.1, 0.0], [0.5, np.nan, -0.1], [0.05, -0.1, np.nan]],
    dtype=np.float32,
)


def curated(pool: Any) -> Any:
    kernel = np.nan_to_num(np.maximum(POOL, 0))
    utilities = SimpleNamespace(pool=pool)
    return SimpleNamespace(
        problem=SimpleNamespace(utilities=utilities, kernel=kernel, remember=lambda key, compute: compute())
    )


def test_help_up_to_the_size_of_the_harm_is_weak_and_bars_have_one_scale() -> None:
    reason = ChosenReason(1, 0.55, 0.0, 0.0, 2, (Help(1, 0.5), Help(2, 0.05)), 2)
    found = row_reason(curated(POOL), 0, reason)
    assert [(one.position, one.weak) for one in found.helps] == [(1, False), (2, True)]
    assert found.helps[0].share == 1.0 and 0.05 < found.helps[1].share < 0.15
    assert found.lead == "Chosen 1st." and found.heading == "The best chosen example for 2 rows"
    assert (found.same_job, found.next_in_line, found.certainty) == (None, 2, "")


def test_a_row_left_out_names_what_stands_in_for_it_and_says_where_all_help_is_weak() -> None:
    reason = DroppedReason(0.01, 0.0, (MissedHelp(2, 0.05, 1, 0.06),), 1)
    found = row_reason(curated(POOL), 0, reason)
    assert found.lead == "Left out. All help that it gives is weak." and found.same_job == 1
    (helped,) = found.helps
    assert (helped.by, helped.by_more) == (1, True)


def test_after_a_run_of_some_pairs_a_reason_says_how_sure_it_is() -> None:
    some = csr_array((np.array([0.5, -0.1], np.float32), (np.array([1, 2]), np.array([0, 1]))), shape=(3, 3))
    assert scale_of(curated(some).problem).tried.tolist() == [1, 1, 0]
    nothing = ChosenReason(1, 0.0, 0.0, 0.0, 0, (), None)
    certainty = [row_reason(curated(some), position, nothing).certainty for position in (0, 2)]
    assert certainty[0].startswith("Certainty: medium. As an example, the row was scored for 1 of 2 other rows")
    assert certainty[1].startswith("Certainty: low.")
