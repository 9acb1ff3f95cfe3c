"""Why a sample was chosen or left out: facts from the kernel, which `explain_text` turns into sentences.

An explanation is about the optimiser's decision; later edits by the curator do not change it. One sample is explained
by a few passes over the kernel, a whole pool by shared passes (`Explainer.reasons`). Samples are known by position.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.alternatives import find_replacements, find_runner_up, find_runner_ups, others_helped
from delift_core.selection.coverage import best_chosen, covered, gains_along, ranks, residual_gains
from delift_core.selection.kernels import Kernel, by_columns, column_of, column_sums
from delift_core.selection.quotas import QuotaEffects, quota_effects
from delift_core.selection.types import ChosenBy, Selection

_LISTED = 5


class Help(NamedTuple):
    """A pool sample and how much it is helped, in the objective's units."""

    position: int
    utility: float


class MissedHelp(NamedTuple):
    """A pool sample that a dropped sample would help, and the chosen sample that helps it most (None and 0 if none)."""

    position: int
    utility: float
    covered_by: int | None
    covered_by_utility: float


@dataclass(frozen=True, slots=True)
class ChosenReason:
    """Why a sample is in the selection."""

    rank: int  # 1 for the first pick
    gain: float  # when it was picked, in units of the metric
    from_target: float  # part of the gain from the target term (stage "task")
    from_itself: float  # part of the gain from covering itself (self_coverage > 0)
    covers: int  # number of other pool samples that it helps more than any other chosen one (the earlier wins a tie)
    helps: tuple[Help, ...]  # up to five of those, most helped first
    # The sample with the largest gain at that rank without this one; None if no other sample had a gain. Respects
    # quotas, but not the length of samples under a token budget.
    runner_up: int | None
    by_hand: bool = False  # kept by a curator before the optimiser chose the others
    for_minimum: str | None = None  # its group, if the pick was reserved for groups below their minimum
    method: ChosenBy = "delift"  # what ordered the rows


@dataclass(frozen=True, slots=True)
class DroppedReason:
    """Why a sample is not in the selection."""

    residual_gain: float  # of adding it to the whole selection, in units of the metric
    from_target: float  # part of the residual gain from the target term (stage "task")
    # Up to five other pool samples that it helps, most helped first, each with the best chosen helper.
    would_help: tuple[MissedHelp, ...]
    # The chosen sample that shares most of its help, see `alternatives`; None if none shares any.
    replacement: int | None
    by_hand: bool = False  # dropped by a curator before the optimiser chose the others
    passed_over: "PassedOver | None" = None  # the quota that excluded it before the budget was spent, if any
    method: ChosenBy = "delift"  # what ordered the rows
    place: int | None = None  # its rank in another method's order, from 1; None for DELIFT


class PassedOver(NamedTuple):
    """A group of which no more rows were allowed."""

    group: str  # its label
    after: int  # number of picks until then
    most: int | None  # its maximum, if reached; None if the other picks were reserved for other groups


Reason = ChosenReason | DroppedReason


class Explainer:
    """Explains the samples of one selection.

    Args:
        selection: to explain.
        kernel: (r, n) its represented kernel, from `objectives.represented_kernel` with `selection.config`. Utilities
            in explanations are its entries (for "continual": the help beyond that of existing rows).

    Raises:
        SelectionError: the kernel does not belong to the selection.
    """

    def __init__(self, selection: Selection, kernel: Kernel) -> None:
        n = len(selection.greedy.order)
        rows = kernel.shape[0] if selection.config.needed_set == "target" else n
        if kernel.shape != (rows, n) or rows < n:
            raise SelectionError(
                f"The kernel has shape {kernel.shape} and the selection needs ({n}, {n}), and more rows for a target: "
                f"pass the represented kernel this selection was made from."
            )
        self._selection = selection
        self._kernel = kernel
        self._rank = ranks(selection.greedy.order, n)
        self._index_of = {position: index for index, position in enumerate(selection.chosen.tolist())}
        best, utility = best_chosen(kernel, selection.chosen)
        self._best, self._best_utility = selection.chosen[best[:n]], utility[:n]
        self._helped_most = _groups(self._best)
        self._own = kernel.diagonal()
        self._target = _from_target(kernel, selection.chosen)
        self._quotas = selection.quotas
        self._quota_effects = None if selection.quotas is None else quota_effects(selection)
        self._closed_after = _closed_after(selection, self._quota_effects)

    def reason(self, position: int) -> Reason:
        """Why a sample was chosen or left out.

        Raises:
            SelectionError: the position is not in the pool.
        """
        n = self._kernel.shape[1]
        if not 0 <= position < n:
            raise SelectionError(f"Position {position} is not in the pool of {n} samples: use 0 to {n - 1}.")
        chosen = self._selection.chosen
        if position in self._index_of:
            index = self._index_of[position]
            return self._chosen(index, find_runner_up(self._kernel, chosen, index, self._closed_after))
        (replacement,) = find_replacements(self._kernel, chosen, np.array([position]))
        return self._dropped(position, column_of(self._kernel, position), replacement)

    def reasons(self) -> tuple[Reason, ...]:
        """(n,) the reasons of all samples of the pool, in a fraction of the time of n calls of `reason`.

        Raises:
            SelectionError: a second copy of the kernel does not fit into memory.
        """
        columns = by_columns(self._kernel)
        chosen = self._selection.chosen
        others = find_runner_ups(columns, column_sums(self._kernel), chosen, self._closed_after)
        reasons: dict[int, Reason] = {
            int(chosen[index]): self._chosen(index, runner_up) for index, runner_up in enumerate(others)
        }
        n = self._kernel.shape[1]
        dropped = np.setdiff1d(np.arange(n), chosen)
        for position, replacement in zip(
            dropped.tolist(), find_replacements(self._kernel, chosen, dropped), strict=True
        ):
            reasons[position] = self._dropped(position, columns.column(position), replacement)
        return tuple(reasons[position] for position in range(n))

    def _chosen(self, index: int, runner_up: int | None) -> ChosenReason:
        position = int(self._selection.chosen[index])
        own_rows = self._helped_most.get(position, np.empty(0, dtype=np.int64))
        own_rows = own_rows[(self._best_utility[own_rows] > 0) & (own_rows != position)]
        utility = self._best_utility[own_rows]
        by_hand = index < len(self._selection.fixed.kept)  # kept rows come first
        return ChosenReason(
            rank=index + 1,
            gain=float(self._selection.chosen_gains[index]),
            from_target=float(self._target[position]),
            from_itself=self._from_itself(index, position),
            covers=len(own_rows),
            helps=tuple(Help(int(own_rows[at]), float(utility[at])) for at in _largest(utility, _LISTED).tolist()),
            runner_up=None if by_hand else runner_up,
            by_hand=by_hand,
            for_minimum=None if by_hand else self._for_minimum(index, position),
            method=self._selection.method,
        )

    def _for_minimum(self, index: int, position: int) -> str | None:
        if self._quotas is None or self._quota_effects is None or not self._quota_effects.for_minimum[index]:
            return None
        return self._quotas.groups[int(self._quotas.codes[position])].label

    def _from_itself(self, index: int, position: int) -> float:
        own = float(self._own[position])
        if own == 0:
            return 0.0
        row = self._kernel[position : position + 1]
        return max(0.0, own - float(covered(row, self._selection.chosen[:index])[0]))

    def _dropped(self, position: int, column: tuple[np.ndarray, np.ndarray], replacement: int | None) -> DroppedReason:
        rows, help_given = others_helped(column, position, len(self._best))
        missed = []
        for at in _largest(help_given, _LISTED).tolist():
            row, utility = int(rows[at]), float(self._best_utility[rows[at]])
            by = int(self._best[row]) if utility > 0 else None
            missed.append(MissedHelp(row, float(help_given[at]), by, utility))
        return DroppedReason(
            residual_gain=float(self._selection.residual_gains[position]),
            from_target=float(self._target[position]),
            would_help=tuple(missed),
            replacement=replacement,
            by_hand=position in self._selection.fixed.dropped,
            passed_over=self._passed_over(position),
            method=self._selection.method,
            place=None if self._selection.method == "delift" else int(self._rank[position]) + 1,
        )

    def _passed_over(self, position: int) -> PassedOver | None:
        if self._quotas is None or self._quota_effects is None or position in self._selection.fixed.dropped:
            return None
        code = int(self._quotas.codes[position])
        after, group = int(self._quota_effects.closed_after[code]), self._quotas.groups[code]
        if after >= len(self._selection.chosen):
            return None
        return PassedOver(group.label, after, group.most if self._quota_effects.at_maximum[code] else None)


def _from_target(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """(n,) the part of each sample's gain, when picked or now, from the rows after the pool's."""
    n = kernel.shape[1]
    if kernel.shape[0] == n:
        return np.zeros(n)
    below = kernel[n:]
    found = residual_gains(below, chosen)
    found[chosen] = gains_along(below, chosen)
    return found


def _groups(labels: np.ndarray) -> dict[int, np.ndarray]:
    """The positions of each label, ascending."""
    by_label = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[by_label], return_index=True)
    return dict(zip(names.tolist(), np.split(by_label, starts[1:]), strict=True))


def _largest(numbers: np.ndarray, count: int) -> np.ndarray:
    """Positions of the largest numbers, largest first (the smaller position wins a tie): at most `count`, int64."""
    if len(numbers) <= count:
        return np.argsort(-numbers, kind="stable")
    least = np.partition(numbers, -count)[-count]
    at_least = np.flatnonzero(numbers >= least)
    return at_least[np.argsort(-numbers[at_least], kind="stable")][:count]


def _closed_after(selection: Selection, effects: QuotaEffects | None) -> np.ndarray:
    """(n,) int64, number of picks after which each sample was no longer allowed; n if it always was."""
    n = len(selection.greedy.order)
    closed = (
        np.full(n, n) if effects is None or selection.quotas is None else effects.closed_after[selection.quotas.codes]
    )
    closed[np.array(selection.fixed.dropped, dtype=np.int64)] = 0
    return closed
