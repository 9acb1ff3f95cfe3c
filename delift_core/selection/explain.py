"""Why a sample was chosen, or left out: facts from the kernel; `words` makes a sentence of them.

An explanation is about what the optimiser did. Edits the curator made afterwards do not change it. One sample is
explained by a few passes over the kernel; all samples of a pool together by shared ones, see `Explainer.reasons`. This
module knows samples by position only; the caller says what to call them.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.coverage import best_chosen, covered, gains_along, ranks, residual_gains
from delift_core.selection.kernels import Columns, Kernel, by_columns, column_of, column_sums
from delift_core.selection.quotas import Closings, closings
from delift_core.selection.replacements import others_helped, stand_ins
from delift_core.selection.types import ChosenBy, Selection

_LISTED = 5


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
            sample would have added anything. For a token budget its length is not considered; quotas are.
        by_hand: kept by a curator before the optimiser chose the others.
        for_minimum: the group that it was picked for, when all places left were owed to groups below their minimum.
        method: what put the rows in order.
    """

    rank: int
    gain: float
    from_target: float
    from_itself: float
    covers: int
    helps: tuple[Help, ...]
    runner_up: int | None
    by_hand: bool = False
    for_minimum: str | None = None
    method: ChosenBy = "delift"


@dataclass(frozen=True, slots=True)
class DroppedReason:
    """Why a sample is not in the selection.

    Attributes:
        residual_gain: what it would still add to the whole selection, in units of the metric.
        from_target: part of the residual gain that is the target term (stage "task").
        would_help: up to five other pool samples that it helps, most helped first, each with who covers it instead.
        stand_in: the chosen sample that gives most of the help this one could have given, summed over the pool; None
            when no chosen sample gives any of it.
        by_hand: dropped by a curator before the optimiser chose the others.
        passed_over: the quota that kept it out from some pick on, if one did before the budget was used up.
        method: what put the rows in order.
        place: 1 for the first row of another method's order; None where DELIFT made it.
    """

    residual_gain: float
    from_target: float
    would_help: tuple[MissedHelp, ...]
    stand_in: int | None
    by_hand: bool = False
    passed_over: "PassedOver | None" = None
    method: ChosenBy = "delift"
    place: int | None = None


class PassedOver(NamedTuple):
    """A group that could give no more rows.

    Attributes:
        group: its label.
        after: picks made until then.
        most: its maximum, if it was reached; None if all places left were owed to other groups.
    """

    group: str
    after: int
    most: int | None


Reason = ChosenReason | DroppedReason


class Explainer:
    """Explains the samples of one selection; what they share is computed once.

    Args:
        selection: what was selected.
        kernel: (r, n) the represented kernel it was selected from, as `objectives.represented_kernel` gives it again
            for `selection.config`; utilities in an explanation are its entries (for "continual": the help beyond the
            existing rows).

    Raises:
        SelectionError: the kernel does not belong to the selection.
    """

    def __init__(self, selection: Selection, kernel: Kernel) -> None:
        n = len(selection.greedy.order)
        rows = kernel.shape[0] if selection.config.stage == "task" else n
        if kernel.shape != (rows, n) or rows < n:
            raise SelectionError(
                f"The kernel has shape {kernel.shape} and the selection needs ({n}, {n}), and more rows for a target: "
                f"pass the represented kernel this selection was made from."
            )
        self._selection = selection
        self._kernel = kernel
        self._place = ranks(selection.greedy.order, n)  # 0 is first
        self._index_of = {position: index for index, position in enumerate(selection.chosen.tolist())}
        best, utility = best_chosen(kernel, selection.chosen)
        self._best, self._best_utility = selection.chosen[best[:n]], utility[:n]
        self._helped_most = _groups(self._best)
        self._own = kernel.diagonal()
        self._target = _from_target(kernel, selection.chosen)
        self._quotas = selection.quotas
        self._closings = None if selection.quotas is None else closings(selection)
        self._closed = _closed(selection, self._closings)

    def reason(self, position: int) -> Reason:
        """Says why the optimiser chose a sample, or left it out.

        Raises:
            SelectionError: the position is not in the pool.
        """
        n = self._kernel.shape[1]
        if not 0 <= position < n:
            raise SelectionError(f"Position {position} is not in the pool of {n} samples: use 0 to {n - 1}.")
        chosen = self._selection.chosen
        if position in self._index_of:
            index = self._index_of[position]
            return self._chosen(index, _runner_up(self._kernel, chosen, index, self._closed))
        (stand_in,) = stand_ins(self._kernel, chosen, np.array([position]))
        return self._dropped(position, column_of(self._kernel, position), stand_in)

    def reasons(self) -> tuple[Reason, ...]:
        """(n,) the reason for every sample of the pool: as `reason` one by one, in a fraction of the time.

        Raises:
            SelectionError: a second copy of the kernel does not fit into memory.
        """
        columns = by_columns(self._kernel)
        chosen = self._selection.chosen
        runner_ups = _runner_ups(columns, column_sums(self._kernel), chosen, self._closed)
        reasons: dict[int, Reason] = {
            int(chosen[index]): self._chosen(index, runner_up) for index, runner_up in enumerate(runner_ups)
        }
        n = self._kernel.shape[1]
        dropped = np.setdiff1d(np.arange(n), chosen)
        for position, stand_in in zip(dropped.tolist(), stand_ins(self._kernel, chosen, dropped), strict=True):
            reasons[position] = self._dropped(position, columns.column(position), stand_in)
        return tuple(reasons[position] for position in range(n))

    def _chosen(self, index: int, runner_up: int | None) -> ChosenReason:
        position = int(self._selection.chosen[index])
        own_rows = self._helped_most.get(position, np.empty(0, dtype=np.int64))
        own_rows = own_rows[(self._best_utility[own_rows] > 0) & (own_rows != position)]
        utility = self._best_utility[own_rows]  # what this sample gives them, being the one that helps them most
        by_hand = index < len(self._selection.fixed.kept)  # those come first
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
        if self._quotas is None or self._closings is None or not self._closings.owed[index]:
            return None
        return self._quotas.groups[int(self._quotas.codes[position])].label

    def _from_itself(self, index: int, position: int) -> float:
        own = float(self._own[position])
        if own == 0:
            return 0.0
        row = self._kernel[position : position + 1]
        return max(0.0, own - float(covered(row, self._selection.chosen[:index])[0]))

    def _dropped(self, position: int, column: tuple[np.ndarray, np.ndarray], stand_in: int | None) -> DroppedReason:
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
            stand_in=stand_in,
            by_hand=position in self._selection.fixed.dropped,
            passed_over=self._passed_over(position),
            method=self._selection.method,
            place=None if self._selection.method == "delift" else int(self._place[position]) + 1,
        )

    def _passed_over(self, position: int) -> PassedOver | None:
        if self._quotas is None or self._closings is None or position in self._selection.fixed.dropped:
            return None
        code = int(self._quotas.codes[position])
        after, group = int(self._closings.after[code]), self._quotas.groups[code]
        if after >= len(self._selection.chosen):
            return None
        return PassedOver(group.label, after, group.most if self._closings.full[code] else None)


def _from_target(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """(n,) what the rows below the pool's give to the gain of each sample, when it was picked or now."""
    n = kernel.shape[1]
    if kernel.shape[0] == n:
        return np.zeros(n)
    below = kernel[n:]
    found = residual_gains(below, chosen)
    found[chosen] = gains_along(below, chosen)
    return found


def _groups(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Positions by label, ascending within each."""
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


def _closed(selection: Selection, found: Closings | None) -> np.ndarray:
    """(n,) int64, the picks after which each sample could be picked no more; one that always could has n."""
    n = len(selection.greedy.order)
    closed = np.full(n, n) if found is None or selection.quotas is None else found.after[selection.quotas.codes]
    closed[np.array(selection.fixed.dropped, dtype=np.int64)] = 0
    return closed


def _runner_up(kernel: Kernel, chosen: np.ndarray, index: int, closed: np.ndarray) -> int | None:
    """The sample that would have added most in place of the pick at `index` (the smaller position wins a tie)."""
    others = residual_gains(kernel, chosen[:index])
    others[chosen[: index + 1]] = 0.0
    others[closed <= index] = 0.0
    return int(others.argmax()) if others.max() > 0 else None


def _runner_ups(columns: Columns, sums: np.ndarray, chosen: np.ndarray, closed: np.ndarray) -> Iterator[int | None]:
    """`_runner_up` of every pick, first pick first, in one walk along the picks.

    Gains only shrink as picks are added, so one computed at an earlier pick bounds that of now from above, and only
    the top of the heap is ever computed again (CELF, Leskovec et al. 2007).

    Args:
        columns: of the kernel.
        sums: (n,) of the columns.
        chosen: (k,) positions in the order picked.
        closed: (n,) picks after which each could be picked no more.
    """
    cover = np.zeros(columns.height)
    # Entries are (-gain, position, picks when computed): the smallest position wins a tie.
    heap = [(-gain, position, 0) for position, gain in enumerate(sums.tolist())]
    heapq.heapify(heap)
    picked: set[int] = set()
    for index, pick in enumerate(chosen.tolist()):
        picked.add(pick)
        while heap:
            gain, position, computed_at = heap[0]
            if gain == 0 or position in picked or closed[position] <= index:  # none of these ever comes back
                heapq.heappop(heap)
            elif computed_at == index:
                break
            else:
                heapq.heapreplace(heap, (-columns.gain(position, cover), position, index))
        yield heap[0][1] if heap else None
        columns.lift(pick, cover)
