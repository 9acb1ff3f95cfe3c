"""Explanations as sentences. Samples are known by position; a function of the caller gives their names."""

from collections.abc import Callable, Sequence

import numpy as np

from delift_core.selection.coverage import value
from delift_core.selection.explain import ChosenReason, DroppedReason, Help, MissedHelp, PassedOver, Reason
from delift_core.selection.kernels import Kernel, row_best
from delift_core.selection.methods import method_title
from delift_core.selection.types import Selection

_NAMED = 2


def as_sentence(reason: Reason, name_of: Callable[[int], str]) -> str:
    """A few sentences for the curator.

    Args:
        reason: from `explain`.
        name_of: what to call the row at a position (its number, or the start of its text).
    """
    if isinstance(reason, ChosenReason):
        return _chosen_sentence(reason, name_of)
    return _dropped_sentence(reason, name_of)


def _chosen_sentence(reason: ChosenReason, name_of: Callable[[int], str]) -> str:
    head = "Kept by hand before the others were chosen" if reason.by_hand else _picked(reason)
    if reason.for_minimum is not None:
        head += f", for the minimum of “{reason.for_minimum}”"
    if reason.gain <= 0 and reason.by_hand:
        return f"{head}: it adds nothing that the other kept rows do not already cover."
    if reason.gain <= 0:
        head += ", to fill the budget" if reason.method == "delift" else ""
        return f"{head}: it adds nothing that the rows chosen before it do not already cover."
    said = [f"{head}: it adds {reason.gain:.3g} to the coverage{_shares(reason)}"]
    if reason.helps:
        lead = "" if reason.covers <= _NAMED else f"{reason.covers:,} rows, above all "
        said.append(f"It is the best chosen example for {lead}{_list_of_help(reason.helps, name_of)}")
    else:
        said.append("What it helps in the pool is helped as much or more by other chosen rows")
    if reason.runner_up is not None:
        other = name_of(reason.runner_up)
        ours = f"Without it, {other} would have been chosen"
        said.append(ours if reason.method == "delift" else f"Apart from it, {other} would have added most")
    return ". ".join(said) + "."


def _picked(reason: ChosenReason) -> str:
    if reason.method == "delift":
        return f"Chosen {ordinal(reason.rank)}"
    if reason.method == "given":
        return f"Given {ordinal(reason.rank)}"
    return f"Chosen {ordinal(reason.rank)}, by {method_title(reason.method)}"


def _shares(reason: ChosenReason) -> str:
    shares = []
    if reason.from_target > 0:
        shares.append(f"{reason.from_target:.3g} of it by helping the target")
    if reason.from_itself > 0:
        shares.append(f"{reason.from_itself:.3g} of it by covering itself")
    return f" ({', '.join(shares)})" if shares else ""


def _dropped_sentence(reason: DroppedReason, name_of: Callable[[int], str]) -> str:
    target = f" ({reason.from_target:.3g} of it by helping the target)" if reason.from_target > 0 else ""
    added = f"{reason.residual_gain:.3g}" if reason.residual_gain > 0 else "nothing"
    head = "Dropped by hand before the others were chosen" if reason.by_hand else "Left out"
    if reason.method == "given":
        head += ", not among the given rows"
    elif reason.place is not None:
        head += f", {ordinal(reason.place)} in the order of {method_title(reason.method)}"
    said = [f"{head}: it would add {added} to the coverage{target}"]
    if reason.passed_over is not None:
        said.append(passed_over_sentence(reason.passed_over))
    if not reason.would_help:
        said.append("It helps no other row enough to count")
    else:
        said.append(_missed_sentence(reason.would_help[0], name_of))
    if reason.replacement is not None:
        said.append(f"Of the chosen rows, {name_of(reason.replacement)} does most of the same job")
    return ". ".join(said) + "."


def passed_over_sentence(passed: PassedOver) -> str:
    """Which quota excluded a row, without a full stop."""
    if passed.most is not None:
        return f"“{passed.group}” reached its maximum of {passed.most:,} after choice {passed.after:,}"
    return (
        f"After choice {passed.after:,}, all remaining places were reserved for groups below their minimum, and "
        f"“{passed.group}” was not one of them"
    )


def _missed_sentence(missed: MissedHelp, name_of: Callable[[int], str]) -> str:
    most = f"It helps {name_of(missed.position)} most (+{missed.utility:.3g}), which"
    if missed.covered_by is None:
        return f"{most} no chosen row helps"
    how = "already helps as much or more" if missed.covered_by_utility >= missed.utility else "helps less"
    return f"{most} {name_of(missed.covered_by)} {how} (+{missed.covered_by_utility:.3g})"


def _list_of_help(helps: Sequence[Help], name_of: Callable[[int], str]) -> str:
    return " and ".join(f"{name_of(one.position)} (+{one.utility:.3g})" for one in helps[:_NAMED])


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def coverage_shares(kernel: Kernel, selection: Selection) -> tuple[float, float]:
    """The shares of the pool's and of the target's largest possible coverage that a selection reaches.

    Args:
        kernel: (r, n) the represented kernel of stage "task".
        selection: from that kernel.

    Returns:
        (pool, target), in [0, 1]; 1 where no coverage is possible.
    """
    below = kernel[kernel.shape[1] :]
    target, target_of_all = value(below, selection.chosen), float(row_best(below).sum())
    pool = selection.certificate.value - target
    pool_of_all = float(selection.greedy.gains.sum()) - target_of_all
    return _share(pool, pool_of_all), _share(target, target_of_all)


def count_helpable_rows(kernel: Kernel) -> int:
    """The number of pool rows that some sample helps more than the existing rows do.

    Args:
        kernel: (n, n) the represented kernel of stage "continual".
    """
    return int(np.count_nonzero(row_best(kernel) > 0))


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 1.0
