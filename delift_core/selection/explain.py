"""Why a sample was chosen, or left out: facts from the kernel, then one sentence.

An explanation is about what the optimiser did. Edits the curator made afterwards do not change it. This module knows
samples by position only; the caller says what to call them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.certificate import residual_gains
from delift_core.selection.coverage import covered, row_blocks
from delift_core.selection.types import Selection

_LISTED = 5
_NAMED = 2


class Help(NamedTuple):
    """A pool sample and how much it is helped, in units of the metric, as the objective counts it."""

    position: int
    utility: float


class MissedHelp(NamedTuple):
    """A pool sample that a left-out sample would have helped, and the chosen one that helps it most.

    `covered_by` is None, and `covered_by_utility` 0, when no chosen sample helps it.
    """

    position: int
    utility: float
    covered_by: int | None
    covered_by_utility: float


@dataclass(frozen=True, slots=True)
class ChosenReason:
    """Why a sample is in the selection.

    Attributes:
        rank: 1 for the first pick.
        gain: what it added when it was picked, in units of the metric.
        from_target: part of the gain that is the target term (stage "task").
        from_itself: part of the gain that is its covering itself (self_coverage > 0).
        covers: number of other pool samples that it helps most of all chosen ones (the earlier pick wins a tie).
        helps: up to five of those, most helped first.
        runner_up: the sample with the largest gain at that rank had this one not been there; None when no other
            sample would have added anything. For a token budget its length is not considered.
    """

    rank: int
    gain: float
    from_target: float
    from_itself: float
    covers: int
    helps: tuple[Help, ...]
    runner_up: int | None


@dataclass(frozen=True, slots=True)
class DroppedReason:
    """Why a sample is not in the selection.

    Attributes:
        residual_gain: what it would still add to the whole selection, in units of the metric.
        from_target: part of the residual gain that is the target term (stage "task").
        would_help: up to five other pool samples that it helps, most helped first, each with who covers it instead.
        stand_in: the chosen sample that gives most of the help this one could have given, summed over the pool; None
            when no chosen sample gives any of it.
    """

    residual_gain: float
    from_target: float
    would_help: tuple[MissedHelp, ...]
    stand_in: int | None


Reason = ChosenReason | DroppedReason


def explain(selection: Selection, kernel: np.ndarray, position: int) -> Reason:
    """Says why the optimiser chose a sample, or left it out.

    Args:
        selection: what was selected.
        kernel: (r, n) the represented kernel it was selected from, as `objectives.represented_kernel` gives it again
            for `selection.config`; utilities in the explanation are its entries (for "continual": the help beyond
            the existing rows).
        position: of the sample, in the pool.

    Raises:
        SelectionError: the kernel or the position does not belong to the selection.
    """
    n = len(selection.greedy.order)
    rows = 2 * n if selection.config.stage == "task" else n
    if kernel.shape != (rows, n):
        raise SelectionError(
            f"The kernel has shape {kernel.shape} and the selection needs ({rows}, {n}): "
            f"pass the represented kernel this selection was made from."
        )
    if not 0 <= position < n:
        raise SelectionError(f"Position {position} is not in the pool of {n} samples: use 0 to {n - 1}.")
    from_target = float(kernel[n + position, position]) if selection.config.stage == "task" else 0.0
    rank = np.flatnonzero(selection.chosen == position)
    if len(rank):
        return _explain_chosen(selection, kernel, position, int(rank[0]), from_target)
    return _explain_dropped(selection, kernel, position, from_target)


def in_words(reason: Reason, name_of: Callable[[int], str]) -> str:
    """One sentence for the curator.

    Args:
        reason: from `explain`.
        name_of: what to call the sample at a position (an id, or the start of its text).
    """
    if isinstance(reason, ChosenReason):
        return _chosen_in_words(reason, name_of)
    return _dropped_in_words(reason, name_of)


def _explain_chosen(
    selection: Selection, kernel: np.ndarray, position: int, index: int, from_target: float
) -> ChosenReason:
    n = kernel.shape[1]
    before = selection.chosen[:index]
    helped = _rows_helped(kernel, position)
    best, _ = _best_chosen(kernel, helped, selection.chosen)
    own_rows = helped[best == position]
    others = residual_gains(kernel, before)
    others[position] = 0.0
    others[before] = 0.0
    own_before = float(covered(kernel[position : position + 1], before)[0])
    return ChosenReason(
        rank=index + 1,
        gain=float(selection.chosen_gains[index]),
        from_target=from_target,
        from_itself=max(0.0, float(kernel[position, position]) - own_before),
        covers=len(own_rows),
        helps=tuple(Help(int(row), float(kernel[row, position])) for row in own_rows[:_LISTED]),
        runner_up=int(others.argmax()) if n > 1 and others.max() > 0 else None,
    )


def _explain_dropped(selection: Selection, kernel: np.ndarray, position: int, from_target: float) -> DroppedReason:
    helped = _rows_helped(kernel, position)
    best, best_utility = _best_chosen(kernel, helped, selection.chosen)
    missed = tuple(
        MissedHelp(int(row), float(kernel[row, position]), int(by) if utility > 0 else None, float(utility))
        for row, by, utility in zip(helped[:_LISTED], best[:_LISTED], best_utility[:_LISTED], strict=True)
    )
    return DroppedReason(
        residual_gain=float(selection.residual_gains[position]),
        from_target=from_target,
        would_help=missed,
        stand_in=_stand_in(kernel, helped, position, selection.chosen),
    )


def _rows_helped(kernel: np.ndarray, position: int) -> np.ndarray:
    """Other pool samples that the sample helps, most helped first (the smaller position wins a tie)."""
    help_given = kernel[: kernel.shape[1], position].copy()
    help_given[position] = 0.0
    best_first = np.argsort(-help_given, kind="stable")
    return best_first[help_given[best_first] > 0]


def _best_chosen(kernel: np.ndarray, rows: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows`, the chosen sample that helps it most (the earlier pick wins a tie), and how much."""
    best = np.zeros(len(rows), dtype=np.int64)
    utility = np.zeros(len(rows))
    for block in row_blocks(len(rows), len(chosen)):
        part = kernel[np.ix_(rows[block], chosen)]
        best[block] = chosen[part.argmax(axis=1)]
        utility[block] = part.max(axis=1)
    return best, utility


def _stand_in(kernel: np.ndarray, rows: np.ndarray, position: int, chosen: np.ndarray) -> int | None:
    """The chosen a with the largest sum over rows of min(s_a, s_position): the help that both give."""
    shared = np.zeros(len(chosen))
    for block in row_blocks(len(rows), len(chosen)):
        part = kernel[np.ix_(rows[block], chosen)]
        shared += np.minimum(part, kernel[rows[block], position][:, None]).sum(axis=0, dtype=np.float64)
    return int(chosen[shared.argmax()]) if len(chosen) and shared.max() > 0 else None


def _chosen_in_words(reason: ChosenReason, name_of: Callable[[int], str]) -> str:
    head = f"Picked {_ordinal(reason.rank)}"
    if reason.gain <= 0:
        return f"{head}, to fill the budget: it adds nothing that the samples picked before it do not already cover."
    parts = [f"{head}: it added {reason.gain:.3g} to the coverage{_shares(reason)}"]
    if reason.helps:
        count = "1 sample" if reason.covers == 1 else f"{reason.covers} samples"
        lead = "" if reason.covers <= _NAMED else "above all "
        parts.append(f"of all chosen samples it helps {count} most, {lead}{_list_of_help(reason.helps, name_of)}")
    else:
        parts.append("what it helps in the pool is helped as much or more by other chosen samples")
    if reason.runner_up is not None:
        parts.append(f"in its place, {name_of(reason.runner_up)} would have come next")
    return "; ".join(parts) + "."


def _shares(reason: ChosenReason) -> str:
    shares = []
    if reason.from_target > 0:
        shares.append(f"{reason.from_target:.3g} of it by helping the target")
    if reason.from_itself > 0:
        shares.append(f"{reason.from_itself:.3g} of it by covering itself")
    return f" ({', '.join(shares)})" if shares else ""


def _dropped_in_words(reason: DroppedReason, name_of: Callable[[int], str]) -> str:
    target = f" ({reason.from_target:.3g} of it by helping the target)" if reason.from_target > 0 else ""
    added = f"{reason.residual_gain:.3g} more coverage{target}" if reason.residual_gain > 0 else "no coverage"
    parts = [f"Left out: on top of the chosen samples it would add {added}"]
    if not reason.would_help:
        parts.append("it helps no other sample in the pool by an amount that counts")
    else:
        parts.append(_missed_in_words(reason.would_help[0], name_of))
    if reason.stand_in is not None:
        parts.append(f"{name_of(reason.stand_in)} stands in for it best")
    return "; ".join(parts) + "."


def _missed_in_words(missed: MissedHelp, name_of: Callable[[int], str]) -> str:
    most = f"it helps {name_of(missed.position)} most (+{missed.utility:.3g}), which"
    if missed.covered_by is None:
        return f"{most} no chosen sample helps"
    how = "already helps as much or more" if missed.covered_by_utility >= missed.utility else "helps less"
    return f"{most} {name_of(missed.covered_by)} {how} (+{missed.covered_by_utility:.3g})"


def _list_of_help(helps: Sequence[Help], name_of: Callable[[int], str]) -> str:
    return " and ".join(f"{name_of(one.position)} (+{one.utility:.3g})" for one in helps[:_NAMED])


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
