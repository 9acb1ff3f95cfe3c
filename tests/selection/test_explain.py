"""Explanations on a matrix small enough to read."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import covered, residual_gains, value
from delift_core.selection.explain import (
    ChosenReason,
    DroppedReason,
    Explainer,
    Help,
    MissedHelp,
    Reason,
)
from delift_core.selection.explain_text import as_sentence, coverage_shares
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import Budget, ObjectiveConfig, Selection, Stage
from tests.selection.whole import select

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
    reason = Explainer(selection, kernel).reason(1)
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.covers, reason.runner_up) == (1, 3, 2)
    assert reason.gain == pytest.approx(1.2)
    assert [one.position for one in reason.helps] == [0, 2, 3]
    assert [one.utility for one in reason.helps] == pytest.approx([0.5, 0.4, 0.3])
    assert (reason.from_target, reason.from_itself) == (0, 0)
    assert as_sentence(reason, name_of) == (
        "Chosen 1st: it adds 1.2 to the coverage. It is the best chosen example for 3 rows, above all "
        "s0 (+0.5) and s2 (+0.4). Without it, s2 would have been chosen."
    )


def test_runner_up_is_the_best_of_the_others_at_that_rank() -> None:
    selection, kernel = selected(2)
    reason = Explainer(selection, kernel).reason(3)
    # With 1 picked: sample 2 would add 0.1 on row 1 and 0.1 on row 3, sample 4 only 0.2 on row 1. The kernel is
    # float32, so the tie is broken by rounding; both are right, nothing else is.
    assert isinstance(reason, ChosenReason)
    assert reason.rank == 2 and reason.runner_up in (2, 4)
    assert reason.helps == (Help(1, pytest.approx(0.6)),)


def test_dropped() -> None:
    selection, kernel = selected(2)
    reason = Explainer(selection, kernel).reason(2)
    assert isinstance(reason, DroppedReason)
    assert reason.residual_gain == pytest.approx(0.1)
    assert [(m.position, m.covered_by) for m in reason.would_help] == [(3, 1), (0, 1), (1, 3)]
    assert [m.utility for m in reason.would_help] == pytest.approx([0.4, 0.2, 0.1])
    assert [m.covered_by_utility for m in reason.would_help] == pytest.approx([0.3, 0.5, 0.6])
    # Shared help with 1: 0.2 + 0.3; with 3: 0.1.
    assert reason.replacement == 1
    assert as_sentence(reason, name_of) == (
        "Left out: it would add 0.1 to the coverage. It helps s3 most (+0.4), which s1 helps less (+0.3). "
        "Of the chosen rows, s1 does most of the same job."
    )


def test_dropped_without_use() -> None:
    selection, kernel = selected(2)
    reason = Explainer(selection, kernel).reason(0)
    assert reason == DroppedReason(residual_gain=0, from_target=0, would_help=(), replacement=None)
    assert as_sentence(reason, name_of) == (
        "Left out: it would add nothing to the coverage. It helps no other row enough to count."
    )


def test_a_row_that_no_chosen_sample_helps() -> None:
    selection, kernel = selected(1)
    reason = Explainer(selection, kernel).reason(3)
    assert isinstance(reason, DroppedReason)
    assert reason.would_help == (MissedHelp(1, pytest.approx(0.6), None, 0.0),)
    assert reason.replacement is None
    assert "helps s1 most (+0.6), which no chosen row helps" in as_sentence(reason, name_of)


def test_picked_only_to_fill_the_budget() -> None:
    selection, kernel = selected(5)
    reason = Explainer(selection, kernel).reason(int(selection.chosen[-1]))
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.gain, reason.runner_up) == (5, 0, None)
    assert as_sentence(reason, name_of) == (
        "Chosen 5th, to fill the budget: it adds nothing that the rows chosen before it do not already cover."
    )


def test_an_early_pick_that_later_ones_outdo() -> None:
    # Column 0 helps rows 3 and 4 by 3 each and is picked first; columns 1 and 2 then help one of them by 4 each.
    pool = np.zeros((5, 5))
    pool[3, 0] = pool[4, 0] = 3
    pool[3, 1] = pool[4, 2] = 4
    selection = select(FL, Budget("rows", 3), pool=pool)
    reason = Explainer(selection, represented_kernel(FL, pool)).reason(0)
    assert isinstance(reason, ChosenReason)
    assert (reason.rank, reason.gain, reason.covers, reason.helps) == (1, 6, 0, ())
    assert "helped as much or more by other chosen rows" in as_sentence(reason, name_of)


def test_target_and_own_shares_of_the_gain() -> None:
    config = ObjectiveConfig("task", eta=2, self_coverage=0.5)
    inputs = {"pool": POOL, "diagonal": np.full(5, 0.2), "target": np.array([[0.0, 0.25, 0.0, 0.0, 0.5]])}
    selection = select(config, Budget("rows", 2), **inputs)
    kernel = represented_kernel(config, **inputs)
    first = Explainer(selection, kernel).reason(int(selection.chosen[0]))
    assert isinstance(first, ChosenReason) and selection.chosen[0] == 1
    assert first.gain == pytest.approx(1.2 + 2 * 0.25 + 0.1)
    assert (first.from_target, first.from_itself) == pytest.approx((0.5, 0.1))
    assert "(0.5 of it by helping the target, 0.1 of it by covering itself)" in as_sentence(first, name_of)
    assert 1 not in [one.position for one in first.helps]
    dropped = Explainer(select(config, Budget("rows", 1), **inputs), kernel).reason(4)
    assert isinstance(dropped, DroppedReason)
    assert dropped.from_target == pytest.approx(1.0)
    # 0.2 on row 1 beyond the 0.1 with which sample 1 covers itself, 0.1 on its own row, 1.0 for the target.
    assert dropped.residual_gain == pytest.approx(1.0 + 0.1 + 0.1)
    assert "(1 of it by helping the target)" in as_sentence(dropped, name_of)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_a_covered_target_has_its_part_of_each_gain(form: Callable[[np.ndarray], Kernel]) -> None:
    generator = np.random.default_rng(5)
    pool, target = (form(np.maximum(generator.normal(size=(rows, 9)), 0)) for rows in (9, 4))
    config = ObjectiveConfig("task", eta=0.7, target_help="coverage")
    selection = select(config, Budget("rows", 4), pool=pool, target=target)
    kernel = represented_kernel(config, pool, target=target)
    reasons = Explainer(selection, kernel).reasons()
    parts = np.array([reason.from_target for reason in reasons])
    gains = [reason.gain if isinstance(reason, ChosenReason) else reason.residual_gain for reason in reasons]
    assert kernel.shape == (13, 9) and (parts <= np.array(gains) + 1e-9).all()
    assert parts[selection.chosen].sum() == pytest.approx(value(kernel[9:], selection.chosen))
    others = np.setdiff1d(np.arange(9), selection.chosen)
    np.testing.assert_allclose(parts[others], residual_gains(kernel[9:], selection.chosen)[others])
    whole = [value(part, np.arange(9)) for part in (kernel[:9], kernel[9:])]
    assert whole[1] == pytest.approx(0.7 * whole[0])  # the target as a whole weighs eta times the pool
    shares = coverage_shares(kernel, selection)
    assert shares == pytest.approx(
        [value(part, selection.chosen) / all_of for part, all_of in zip((kernel[:9], kernel[9:]), whole, strict=True)]
    )


def test_continual_counts_help_beyond_the_existing_rows() -> None:
    config = ObjectiveConfig("continual")
    existing = np.array([[0.45], [0.0], [0.5], [0.0], [0.0]])
    selection = select(config, Budget("rows", 2), pool=POOL, existing=existing)
    reason = Explainer(selection, represented_kernel(config, POOL, existing=existing)).reason(1)
    assert isinstance(reason, DroppedReason)
    assert selection.chosen.tolist() == [3, 2]
    assert [(m.position, m.utility) for m in reason.would_help] == [(3, pytest.approx(0.3)), (0, pytest.approx(0.05))]


@pytest.mark.parametrize(("number", "word"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ranks_are_read_aloud(number: int, word: str) -> None:
    reason = ChosenReason(number, 1.0, 0.0, 0.0, 1, (Help(7, 1.0),), None)
    expected = f"Chosen {word}: it adds 1 to the coverage. It is the best chosen example for s7 (+1)."
    assert as_sentence(reason, name_of) == expected


def test_what_does_not_belong_together_is_refused() -> None:
    selection, kernel = selected(2)
    with pytest.raises(SelectionError, match="Position 5"):
        Explainer(selection, kernel).reason(5)
    with pytest.raises(SelectionError, match="Position -1"):
        Explainer(selection, kernel).reason(-1)
    with pytest.raises(SelectionError, match="shape"):
        Explainer(selection, kernel[:4]).reason(1)


def plainly(selection: Selection, kernel: np.ndarray, position: int) -> Reason:
    """The reason straight from its definition, with everything worked out anew for each sample: the oracle."""
    n, chosen = kernel.shape[1], selection.chosen
    target = float(kernel[n + position, position]) if selection.config.stage == "task" else 0.0
    help_given = kernel[:n, position].copy()
    help_given[position] = 0
    helped = [int(row) for row in np.argsort(-help_given, kind="stable") if help_given[row] > 0]
    best = {row: int(chosen[kernel[row, chosen].argmax()]) for row in helped}
    if position not in chosen:
        shared = [sum(min(kernel[row, other], kernel[row, position]) for row in helped) for other in chosen]
        missed = []
        for row in helped[:5]:
            utility = float(kernel[row, best[row]])
            missed.append(MissedHelp(row, float(kernel[row, position]), best[row] if utility > 0 else None, utility))
        replacement = int(chosen[np.argmax(shared)]) if max(shared) > 0 else None
        return DroppedReason(float(selection.residual_gains[position]), target, tuple(missed), replacement)
    index = chosen.tolist().index(position)
    others = residual_gains(kernel, chosen[:index])
    others[chosen[: index + 1]] = 0
    own_rows = [row for row in helped if best[row] == position]
    return ChosenReason(
        rank=index + 1,
        gain=float(selection.chosen_gains[index]),
        from_target=target,
        from_itself=max(0.0, float(kernel[position, position] - covered(kernel, chosen[:index])[position])),
        covers=len(own_rows),
        helps=tuple(Help(row, float(kernel[row, position])) for row in own_rows[:5]),
        runner_up=int(others.argmax()) if others.max() > 0 else None,
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[Selection, np.ndarray]:
    """Any stage and budget. Utilities are small multiples of 1/4: sums are exact, and ties are everywhere."""
    n = draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = draw(st.sampled_from([1, 4, 200]))

    def utilities(rows: int, columns: int) -> np.ndarray:
        return generator.integers(-top, top + 1, (rows, columns)) / 4

    stage: Stage = draw(st.sampled_from(["instruction", "task", "continual"]))
    config = ObjectiveConfig(stage, eta=0.5, nu=0.5, self_coverage=draw(st.sampled_from([0.0, 0.5])))
    inputs = {"pool": utilities(n, n), "diagonal": utilities(1, n)[0]}
    if stage == "task":
        inputs["target"] = utilities(3, n)
    if stage == "continual":
        inputs["existing"] = utilities(n, 2)
    counts = generator.integers(1, 9, n)
    by_tokens = st.integers(int(counts.min()), int(counts.sum())).map(lambda tokens: Budget("tokens", tokens))
    budget = draw(st.integers(1, n).map(lambda rows: Budget("rows", rows)) | by_tokens)
    return select(config, budget, token_counts=counts, **inputs), represented_kernel(config, **inputs)


@settings(deadline=None, max_examples=200)
@given(problem=problems())
def test_all_together_and_one_by_one_are_as_defined(problem: tuple[Selection, np.ndarray]) -> None:
    selection, kernel = problem
    expected = tuple(plainly(selection, kernel, position) for position in range(kernel.shape[1]))
    explainer = Explainer(selection, kernel)
    assert explainer.reasons() == expected
    assert tuple(explainer.reason(position) for position in range(len(expected))) == expected


def cluster_order(n: int) -> tuple[Selection, np.ndarray]:
    """Samples that help their like, as real ones do."""
    generator = np.random.default_rng(3)
    places = generator.normal(size=(n, 8))
    places /= np.linalg.norm(places, axis=1)[:, None]
    pool = places @ places.T * generator.uniform(0.5, 1.5, n) + generator.normal(0, 0.05, (n, n))
    return select(FL, Budget("percent", 30), pool=pool), represented_kernel(FL, pool)


def test_a_pool_of_many_blocks_is_explained_as_defined() -> None:
    selection, kernel = cluster_order(400)
    reasons = Explainer(selection, kernel).reasons()
    sampled = [*selection.chosen[::12].tolist(), *range(0, 400, 20)]
    assert [reasons[position] for position in sampled] == [plainly(selection, kernel, p) for p in sampled]
    assert len(reasons) == 400


def test_sums_too_large_for_32_bits_are_compared_in_64() -> None:
    # Both chosen columns share more with sample 2 than a float32 can say; the later pick shares more of it.
    huge = 3e38
    kernel = np.zeros((6, 6), dtype=np.float32)
    kernel[3:, 2] = huge
    kernel[3:, 0] = huge / np.float32(1.5)
    kernel[3:, 1] = huge / np.float32(1.25)
    selection, _ = selected(2)
    forced = Selection(
        config=FL,
        budget=selection.budget,
        chosen=np.array([0, 1]),
        chosen_gains=selection.chosen_gains,
        greedy=type(selection.greedy)(np.arange(6), np.zeros(6)),
        residual_gains=np.zeros(6),
        certificate=selection.certificate,
        random=selection.random,
    )
    reason = Explainer(forced, kernel).reason(2)
    assert isinstance(reason, DroppedReason) and reason.replacement == 1


def test_a_whole_pool_costs_far_less_than_its_rows_one_by_one() -> None:
    selection, kernel = cluster_order(700)
    explainer = Explainer(selection, kernel)
    started = time.process_time()
    explainer.reasons()
    together = time.process_time() - started
    started = time.process_time()
    for position in range(0, 700, 20):
        Explainer(selection, kernel).reason(position)
    assert together < (time.process_time() - started) * 20 / 3
