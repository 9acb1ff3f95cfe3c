"""Why a sample was chosen, or left out: facts from the kernel, then one sentence.

An explanation is about what the optimiser did. Edits the curator made afterwards do not change it. One sample is
explained by a few passes over the kernel; all samples of a pool together by shared ones, see `Explainer.reasons`. This
module knows samples by position only; the caller says what to call them.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.certificate import residual_gains
from delift_core.selection.coverage import covered, row_blocks
from delift_core.selection.memory import ensure_fits
from delift_core.selection.types import Selection

_LISTED = 5
_NAMED = 2
_TRANSPOSED_COPY_BYTES = 4
_CACHED_ENTRIES = 200_000  # float32 numbers that stay in a core's cache, so that a pass over them is quick


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
        by_hand: kept by a curator before the optimiser chose the others.
    """

    rank: int
    gain: float
    from_target: float
    from_itself: float
    covers: int
    helps: tuple[Help, ...]
    runner_up: int | None
    by_hand: bool = False


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
    """

    residual_gain: float
    from_target: float
    would_help: tuple[MissedHelp, ...]
    stand_in: int | None
    by_hand: bool = False


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

    def __init__(self, selection: Selection, kernel: np.ndarray) -> None:
        n = len(selection.greedy.order)
        rows = 2 * n if selection.config.stage == "task" else n
        if kernel.shape != (rows, n):
            raise SelectionError(
                f"The kernel has shape {kernel.shape} and the selection needs ({rows}, {n}): "
                f"pass the represented kernel this selection was made from."
            )
        self._selection = selection
        self._kernel = kernel
        self._index_of = {position: index for index, position in enumerate(selection.chosen.tolist())}
        self._best, self._best_utility = _best_chosen(kernel[:n], selection.chosen)
        self._helped_most = _groups(self._best)
        self._barred = np.array(selection.fixed.dropped, dtype=np.int64)

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
            return self._chosen(index, _runner_up(self._kernel, chosen, index, self._barred))
        return self._dropped(position, next(_stand_ins(self._kernel.T, chosen, [position])))

    def reasons(self) -> tuple[Reason, ...]:
        """(n,) the reason for every sample of the pool: as `reason` one by one, in a fraction of the time.

        Raises:
            SelectionError: a second copy of the kernel does not fit into memory.
        """
        rows, n = self._kernel.shape
        ensure_fits(rows, n, _TRANSPOSED_COPY_BYTES)
        columns = np.ascontiguousarray(self._kernel.T)
        chosen = self._selection.chosen
        reasons: dict[int, Reason] = {
            int(chosen[index]): self._chosen(index, runner_up)
            for index, runner_up in enumerate(_runner_ups(columns, chosen, self._barred))
        }
        dropped = [position for position in range(n) if position not in self._index_of]
        for position, stand_in in zip(dropped, _stand_ins(columns, chosen, dropped), strict=True):
            reasons[position] = self._dropped(position, stand_in)
        return tuple(reasons[position] for position in range(n))

    def _from_target(self, position: int) -> float:
        n = self._kernel.shape[1]
        return float(self._kernel[n + position, position]) if self._selection.config.stage == "task" else 0.0

    def _chosen(self, index: int, runner_up: int | None) -> ChosenReason:
        position = int(self._selection.chosen[index])
        own_rows = self._helped_most.get(position, np.empty(0, dtype=np.int64))
        own_rows = own_rows[(self._kernel[own_rows, position] > 0) & (own_rows != position)]
        best_first = _largest(self._kernel[own_rows, position], _LISTED)
        by_hand = index < len(self._selection.fixed.kept)  # those come first
        own_before = float(covered(self._kernel[position : position + 1], self._selection.chosen[:index])[0])
        return ChosenReason(
            rank=index + 1,
            gain=float(self._selection.chosen_gains[index]),
            from_target=self._from_target(position),
            from_itself=max(0.0, float(self._kernel[position, position]) - own_before),
            covers=len(own_rows),
            helps=tuple(Help(int(row), float(self._kernel[row, position])) for row in own_rows[best_first]),
            runner_up=None if by_hand else runner_up,
            by_hand=by_hand,
        )

    def _dropped(self, position: int, stand_in: int | None) -> DroppedReason:
        help_given = _help_given(self._kernel.T, position)
        missed = []
        for row in _largest(help_given, _LISTED).tolist():
            if help_given[row] > 0:
                utility = float(self._best_utility[row])
                by = int(self._best[row]) if utility > 0 else None
                missed.append(MissedHelp(row, float(help_given[row]), by, utility))
        return DroppedReason(
            residual_gain=float(self._selection.residual_gains[position]),
            from_target=self._from_target(position),
            would_help=tuple(missed),
            stand_in=stand_in,
            by_hand=position in self._barred,
        )


def explain(selection: Selection, kernel: np.ndarray, position: int) -> Reason:
    """Says why the optimiser chose a sample, or left it out; for many samples keep an `Explainer`.

    Args:
        selection: what was selected.
        kernel: (r, n), as for `Explainer`.
        position: of the sample, in the pool.

    Raises:
        SelectionError: the kernel or the position does not belong to the selection.
    """
    return Explainer(selection, kernel).reason(position)


def in_words(reason: Reason, name_of: Callable[[int], str]) -> str:
    """One sentence for the curator.

    Args:
        reason: from `explain`.
        name_of: what to call the sample at a position (an id, or the start of its text).
    """
    if isinstance(reason, ChosenReason):
        return _chosen_in_words(reason, name_of)
    return _dropped_in_words(reason, name_of)


def _best_chosen(pool: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `pool` (n, n), the chosen sample that helps it most (the earlier pick wins a tie), and how much:
    (n,) int64 and (n,) of the kernel's dtype."""
    best = np.zeros(len(pool), dtype=np.int64)
    utility = np.zeros(len(pool), dtype=pool.dtype)
    for block in row_blocks(len(pool), len(chosen)):
        part = pool[block][:, chosen]
        best[block] = chosen[part.argmax(axis=1)]
        utility[block] = part.max(axis=1)
    return best, utility


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


def _help_given(columns: np.ndarray, position: int) -> np.ndarray:
    """What a sample gives to the others of the pool: (n,), 0 for itself; `columns` is the kernel transposed."""
    help_given: np.ndarray = columns[position, : len(columns)].copy()
    help_given[position] = 0
    return help_given


def _runner_up(kernel: np.ndarray, chosen: np.ndarray, index: int, barred: np.ndarray) -> int | None:
    """The sample that would have added most in place of the pick at `index` (the smaller position wins a tie)."""
    others = residual_gains(kernel, chosen[:index])
    others[chosen[: index + 1]] = 0.0
    others[barred] = 0.0
    return int(others.argmax()) if others.max() > 0 else None


def _runner_ups(columns: np.ndarray, chosen: np.ndarray, barred: np.ndarray) -> Iterator[int | None]:
    """`_runner_up` of every pick, first pick first, in one walk along the picks.

    Gains only shrink as picks are added, so one computed at an earlier pick bounds that of now from above, and only
    the top of the heap is ever computed again (CELF, Leskovec et al. 2007).

    Args:
        columns: (n, r) C-contiguous, the kernel transposed.
        chosen: (k,) positions in the order picked.
        barred: positions that could not be picked.
    """
    cover = np.zeros(columns.shape[1])
    # Entries are (-gain, position, picks when computed): the smallest position wins a tie.
    heap = [(-gain, position, 0) for position, gain in enumerate(columns.sum(axis=1, dtype=np.float64).tolist())]
    heapq.heapify(heap)
    picked: set[int] = set(barred.tolist())
    for index, pick in enumerate(chosen.tolist()):
        picked.add(pick)
        while heap:
            gain, position, computed_at = heap[0]
            if gain == 0 or position in picked:  # neither ever comes back
                heapq.heappop(heap)
            elif computed_at == index:
                break
            else:
                now = np.maximum(columns[position] - cover, 0).sum()
                heapq.heapreplace(heap, (-float(now), position, index))
        yield heap[0][1] if heap else None
        np.maximum(cover, columns[pick], out=cover)


def _stand_ins(columns: np.ndarray, chosen: np.ndarray, dropped: Sequence[int]) -> Iterator[int | None]:
    """For each of `dropped`, the chosen a that gives most of its help: with the largest sum over the pool of
    min(s_a, s_dropped), the earlier pick winning a tie; None where all the sums are 0.

    The sums are taken in 32 bits first; those that rounding could have put below the largest are taken again in 64.

    Args:
        columns: (n, r), the kernel transposed.
        chosen: (k,) positions in the order picked.
        dropped: (d,) positions.
    """
    n = len(columns)
    helpers = np.ascontiguousarray(columns[chosen, :n])
    # Adding n numbers >= 0 in any order is off by at most n roundings, for the largest sum as for the others.
    slack = min(1.0, 2 * n * float(np.finfo(np.float32).eps))
    for position, shared in zip(dropped, _shared_help(helpers, columns, dropped), strict=True):
        help_given = _help_given(columns, position)
        if not help_given.any():
            yield None
            continue
        close = np.flatnonzero(shared >= shared.max() * np.float32(1 - slack))
        exact = np.minimum(helpers[close], help_given).sum(axis=1, dtype=np.float64)
        yield int(chosen[close[exact.argmax()]]) if exact.max() > 0 else None


def _shared_help(helpers: np.ndarray, columns: np.ndarray, dropped: Sequence[int]) -> np.ndarray:
    """Sums over the pool of the smaller of the help of a helper and of a dropped sample: (d, k) float32."""
    k, n = helpers.shape
    shared = np.empty((len(dropped), k), dtype=np.float32)
    step = max(1, _CACHED_ENTRIES // n)
    smaller = np.empty((min(step, k), n), dtype=np.float32)
    ones = np.ones(n, dtype=np.float32)
    with np.errstate(over="ignore"):  # an infinite sum is close to every other, and taken again
        for start in range(0, k, step):
            part = helpers[start : start + step]
            for index, position in enumerate(dropped):
                np.minimum(part, _help_given(columns, position), out=smaller[: len(part)])
                np.matmul(smaller[: len(part)], ones, out=shared[index, start : start + step])
    return shared


def _chosen_in_words(reason: ChosenReason, name_of: Callable[[int], str]) -> str:
    head = "Kept by hand before the others were chosen" if reason.by_hand else f"Picked {_ordinal(reason.rank)}"
    if reason.gain <= 0 and reason.by_hand:
        return f"{head}: it adds nothing that the other kept samples do not already cover."
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
    head = "Dropped by hand before the others were chosen" if reason.by_hand else "Left out"
    parts = [f"{head}: on top of the chosen samples it would add {added}"]
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
