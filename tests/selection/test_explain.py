"""Explanations on a matrix small enough to read."""

import numpy as np
import pytest

from delift_core.errors import SelectionError
from delift_core.selection.engine import select
from delift_core.selection.explain import ChosenReason, DroppedReason, Help, MissedHelp, explain, in_words
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import Budget, ObjectiveConfig, Selection

# Row i is helped, column j helps. Order by gain: 1 (0.5 + 0.4 + 0.3), then 3 (0.6 on row 1), then nothing but 2's 0.1
# on row 3 beyond what 1 gives it, and 0 helps no one.
POOL = np.array(
    [
        [0.0, 0.5, 0.2, 0.0, 0.1],
        [-0.3, 0.0, 0.1, 0.6, 0.2],
        [0.0, 0.4, 0.0, 0.0, 0.0],
        [-0.1, 0.3, 0.4, 0.0, 0.3],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
FL = ObjectiveConfig("instruction")


def name_of(position: int) -> str:
    return f"s{position}"


def selected(rows: int) -> tuple[Selection, np.ndarray]:
    return select(FL, Budget("rows", rows), pool=POOL), represented_kernel(FL, POOL)


def test_chosen() -> None:
    selection, kernel = selected(2)
    assert selection.chosen.tolist() == [1, 3]
    reason = explain(selection, kernel, 1)
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.covers, reason.runner_up) == (1, 3, 2)
    assert reason.gain == pytest.approx(1.2)
    assert [one.position for one in reason.helps] == [0, 2, 3]
    assert [one.utility for one in reason.helps] == pytest.approx([0.5, 0.4, 0.3])
    assert (reason.from_target, reason.from_itself) == (0, 0)
    assert in_words(reason, name_of) == (
        "Picked 1st: it added 1.2 to the coverage; of all chosen samples it helps 3 samples most, above all "
        "s0 (+0.5) and s2 (+0.4); in its place, s2 would have come next."
    )


def test_runner_up_is_the_best_of_the_others_at_that_rank() -> None:
    selection, kernel = selected(2)
    reason = explain(selection, kernel, 3)
    # With 1 picked: sample 2 would add 0.1 on row 1 and 0.1 on row 3, sample 4 only 0.2 on row 1. The kernel is
    # float32, so the tie is broken by rounding; both are right, nothing else is.
    assert isinstance(reason, ChosenReason)
    assert reason.rank == 2 and reason.runner_up in (2, 4)
    assert reason.helps == (Help(1, pytest.approx(0.6)),)


def test_dropped() -> None:
    selection, kernel = selected(2)
    reason = explain(selection, kernel, 2)
    assert isinstance(reason, DroppedReason)
    assert reason.residual_gain == pytest.approx(0.1)
    assert [(m.position, m.covered_by) for m in reason.would_help] == [(3, 1), (0, 1), (1, 3)]
    assert [m.utility for m in reason.would_help] == pytest.approx([0.4, 0.2, 0.1])
    assert [m.covered_by_utility for m in reason.would_help] == pytest.approx([0.3, 0.5, 0.6])
    # Shared help with 1: 0.2 + 0.3; with 3: 0.1.
    assert reason.stand_in == 1
    assert in_words(reason, name_of) == (
        "Left out: on top of the chosen samples it would add 0.1 more coverage; it helps s3 most (+0.4), "
        "which s1 helps less (+0.3); s1 stands in for it best."
    )


def test_dropped_without_use() -> None:
    selection, kernel = selected(2)
    reason = explain(selection, kernel, 0)
    assert reason == DroppedReason(residual_gain=0, from_target=0, would_help=(), stand_in=None)
    assert in_words(reason, name_of) == (
        "Left out: on top of the chosen samples it would add no coverage; it helps no other sample in the pool by an "
        "amount that counts."
    )


def test_a_row_that_no_chosen_sample_helps() -> None:
    selection, kernel = selected(1)
    reason = explain(selection, kernel, 3)
    assert isinstance(reason, DroppedReason)
    assert reason.would_help == (MissedHelp(1, pytest.approx(0.6), None, 0.0),)
    assert reason.stand_in is None
    assert "helps s1 most (+0.6), which no chosen sample helps" in in_words(reason, name_of)


def test_picked_only_to_fill_the_budget() -> None:
    selection, kernel = selected(5)
    reason = explain(selection, kernel, int(selection.chosen[-1]))
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.gain, reason.runner_up) == (5, 0, None)
    assert in_words(reason, name_of) == (
        "Picked 5th, to fill the budget: it adds nothing that the samples picked before it do not already cover."
    )


def test_an_early_pick_that_later_ones_outdo() -> None:
    # Column 0 helps rows 3 and 4 by 3 each and is picked first; columns 1 and 2 then help one of them by 4 each.
    pool = np.zeros((5, 5))
    pool[3, 0] = pool[4, 0] = 3
    pool[3, 1] = pool[4, 2] = 4
    selection = select(FL, Budget("rows", 3), pool=pool)
    reason = explain(selection, represented_kernel(FL, pool), 0)
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.gain, reason.covers, reason.helps) == (1, 6, 0, ())
    assert "helped as much or more by other chosen samples" in in_words(reason, name_of)


def test_target_and_own_shares_of_the_gain() -> None:
    config = ObjectiveConfig("task", eta=2, self_coverage=0.5)
    inputs = {"pool": POOL, "diagonal": np.full(5, 0.2), "target": np.array([[0.0, 0.25, 0.0, 0.0, 0.5]])}
    selection = select(config, Budget("rows", 2), **inputs)
    kernel = represented_kernel(config, **inputs)
    first = explain(selection, kernel, int(selection.chosen[0]))
    assert isinstance(first, ChosenReason) and selection.chosen[0] == 1
    assert first.gain == pytest.approx(1.2 + 2 * 0.25 + 0.1)
    assert (first.from_target, first.from_itself) == pytest.approx((0.5, 0.1))
    assert "(0.5 of it by helping the target, 0.1 of it by covering itself)" in in_words(first, name_of)
    assert 1 not in [one.position for one in first.helps]
    dropped = explain(select(config, Budget("rows", 1), **inputs), kernel, 4)
    assert isinstance(dropped, DroppedReason)
    assert dropped.from_target == pytest.approx(1.0)
    # 0.2 on row 1 beyond the 0.1 with which sample 1 covers itself, 0.1 on its own row, 1.0 for the target.
    assert dropped.residual_gain == pytest.approx(1.0 + 0.1 + 0.1)
    assert "(1 of it by helping the target)" in in_words(dropped, name_of)


def test_continual_counts_help_beyond_the_existing_rows() -> None:
    config = ObjectiveConfig("continual")
    existing = np.array([[0.45], [0.0], [0.5], [0.0], [0.0]])
    selection = select(config, Budget("rows", 2), pool=POOL, existing=existing)
    reason = explain(selection, represented_kernel(config, POOL, existing=existing), 1)
    assert isinstance(reason, DroppedReason)
    assert selection.chosen.tolist() == [3, 2]
    assert [(m.position, m.utility) for m in reason.would_help] == [(3, pytest.approx(0.3)), (0, pytest.approx(0.05))]


@pytest.mark.parametrize(("number", "word"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ranks_are_read_aloud(number: int, word: str) -> None:
    reason = ChosenReason(number, 1.0, 0.0, 0.0, 1, (Help(7, 1.0),), None)
    expected = f"Picked {word}: it added 1 to the coverage; of all chosen samples it helps 1 sample most, s7 (+1)."
    assert in_words(reason, name_of) == expected


def test_what_does_not_belong_together_is_refused() -> None:
    selection, kernel = selected(2)
    with pytest.raises(SelectionError, match="Position 5"):
        explain(selection, kernel, 5)
    with pytest.raises(SelectionError, match="Position -1"):
        explain(selection, kernel, -1)
    with pytest.raises(SelectionError, match="shape"):
        explain(selection, kernel[:4], 1)
