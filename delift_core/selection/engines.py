"""What an engine promises of a selection before anything is chosen, in words."""

import math

from delift_core.baselines.catalogue import method_title
from delift_core.selection.request import is_removed_engine
from delift_core.selection.types import Selection

_GREEDY = 1 - 1 / math.e


def guarantee(selection: Selection) -> str:
    """What was promised of a selection before anything was chosen, in words; its certificate says more."""
    if selection.method != "delift":
        return f"no share of the best selection is promised of {method_title(selection.method)}; its certificate holds"
    if is_removed_engine(selection.engine):
        return "no share of the best selection is promised of this engine of version 0.1.0; its certificate holds"
    best = "the best selection"
    if selection.fixed.kept or selection.fixed.dropped:
        best += " around the rows kept and dropped by hand (of what it adds to the kept)"
    if selection.quotas is not None:
        return f"at least 50.0% of {best} within the quotas (1/2)"
    if selection.budget.unit == "tokens":
        return f"at least {_GREEDY / 2:.1%} of {best} ((1 - 1/e) / 2)"
    return f"at least {_GREEDY:.1%} of {best} (1 - 1/e)"
