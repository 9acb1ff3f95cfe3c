"""Why a row was chosen or left out, as what a page shows: a sentence, the rows that it helps, and how sure that is.

The sentences of `selection.explain_text` give the numbers of the same reason.
"""

from dataclasses import dataclass, replace

import numpy as np

from delift_core.curation.curate import CuratedSelection
from delift_core.curation.selector import SelectionProblem
from delift_core.selection.explain import ChosenReason, DroppedReason, Help, MissedHelp, Reason
from delift_core.selection.explain_text import ordinal, passed_over_sentence
from delift_core.selection.kernels import row_best
from delift_core.selection.methods import method_title

_NOISE_QUANTILE, _SCALE_QUANTILE = 0.95, 0.98
_SAMPLED = 1_000_000  # utilities that the noise is read from
_SURE, _UNSURE = 0.9, 0.3  # shares of a row's pairs


@dataclass(frozen=True, slots=True)
class HelpedRow:
    """A row that another helps.

    Attributes:
        utility: in the units of the objective.
        share: of what counts as very much help in this pool, in [0, 1].
        weak: whether the help is within the noise, see `Scale`.
        by: the chosen row that helps it most, for the reason of a row left out; None if no chosen row helps it.
        by_more: whether that row helps it as much or more.
    """

    position: int
    utility: float
    share: float
    weak: bool
    by: int | None = None
    by_more: bool = False


@dataclass(frozen=True, slots=True)
class RowReason:
    """The reason of one row in words; other rows are positions in the pool.

    Attributes:
        chosen: whether the optimiser chose the row.
        lead: one or two sentences.
        same_job: the chosen row that does most of the same job, for a row left out.
        next_in_line: the row that would have been chosen in place of a chosen row.
        heading: what the list of helped rows is.
        helps: at most five rows, most helped first.
        certainty: what the reason is based on; "" if all pairs of the row were scored.
    """

    chosen: bool
    lead: str
    same_job: int | None
    next_in_line: int | None
    heading: str
    helps: tuple[HelpedRow, ...]
    certainty: str


@dataclass(frozen=True, slots=True)
class Scale:
    """What counts as little and as much help in a pool.

    Attributes:
        noise: the size that 95 % of the harmful pairs stay below. Help and harm by chance are equally likely, so help
            up to this size may be chance.
        strong: the help that 98 % of the rows get at most from their best example, in the units of the objective.
        tried: (n,) int64, how many other rows each was scored with as an example.
    """

    noise: float
    strong: float
    tried: np.ndarray


def scale_of(problem: SelectionProblem) -> Scale:
    """The scale of a pool; computed once for each problem."""
    return problem.remember("scale of help", lambda: _scale(problem))


def _scale(problem: SelectionProblem) -> Scale:
    pool = problem.utilities.pool
    n = pool.shape[1]
    if isinstance(pool, np.ndarray):
        values, tried = pool.ravel(), np.isfinite(pool).sum(axis=0)
    else:
        values, tried = pool.data, np.bincount(pool.indices, minlength=n)
    values = values[:: max(1, len(values) // _SAMPLED)]
    harm = -values[values < 0]
    best = row_best(problem.kernel)[:n]
    return Scale(
        noise=float(np.quantile(harm, _NOISE_QUANTILE)) if len(harm) else 0.0,
        strong=float(np.quantile(best, _SCALE_QUANTILE)) if len(best) else 0.0,
        tried=tried.astype(np.int64),
    )


def row_reason(curated: CuratedSelection, position: int, reason: Reason) -> RowReason:
    """The reason of a row in words.

    Args:
        reason: of this row, see `CuratedSelection.explained`.
    """
    scale = scale_of(curated.problem)
    certainty = _certainty(scale, position)
    if isinstance(reason, ChosenReason):
        helps = tuple(_helped(curated, scale, position, one) for one in reason.helps)
        lead = " ".join(filter(None, (_chosen_lead(reason), _weakness(helps))))
        return RowReason(True, lead, None, reason.runner_up, _chosen_heading(reason.covers), helps, certainty)
    helps = tuple(
        replace(
            _helped(curated, scale, position, one), by=one.covered_by, by_more=one.covered_by_utility >= one.utility
        )
        for one in reason.would_help
    )
    lead = " ".join(filter(None, (_dropped_lead(reason), _weakness(helps))))
    heading = "Rows that it would help" if helps else "It helps no other row enough to count."
    return RowReason(False, lead, reason.replacement, None, heading, helps, certainty)


def _chosen_lead(reason: ChosenReason) -> str:
    if reason.by_hand:
        head = "Kept by hand before the others were chosen"
    elif reason.method == "given":
        head = f"Given {ordinal(reason.rank)}"
    else:
        by = "" if reason.method == "delift" else f", by {method_title(reason.method)}"
        head = f"Chosen {ordinal(reason.rank)}{by}"
    if reason.for_minimum is not None:
        head += f", for the minimum of “{reason.for_minimum}”"
    if reason.gain <= 0:
        return f"{head}. It adds nothing to the rows chosen before it."
    shares = [
        words
        for part, words in ((reason.from_target, "the target"), (reason.from_itself, "covering itself"))
        if part > reason.gain / 2
    ]
    return f"{head}.{f' Most of its gain comes from {shares[0]}.' if shares else ''}"


def _chosen_heading(covers: int) -> str:
    if not covers:
        return "Other chosen rows help the same rows as much or more."
    return "The best chosen example for 1 row" if covers == 1 else f"The best chosen example for {covers:,} rows"


def _dropped_lead(reason: DroppedReason) -> str:
    head = "Dropped by hand before the others were chosen" if reason.by_hand else "Left out"
    if reason.method == "given":
        head += ", not among the given rows"
    elif reason.place is not None:
        head += f", {ordinal(reason.place)} in the order of {method_title(reason.method)}"
    why = f" {passed_over_sentence(reason.passed_over)}." if reason.passed_over else ""
    return f"{head}.{why}"


def _weakness(helps: tuple[HelpedRow, ...]) -> str:
    return "All help that it gives is weak." if helps and all(one.weak for one in helps) else ""


def _helped(curated: CuratedSelection, scale: Scale, helper: int, one: Help | MissedHelp) -> HelpedRow:
    raw = float(curated.problem.utilities.pool[one.position, helper])  # the objective may scale it
    share = min(1.0, one.utility / scale.strong) if scale.strong > 0 else 0.0
    return HelpedRow(one.position, one.utility, share, raw <= scale.noise)


def _certainty(scale: Scale, position: int) -> str:
    tried, others = int(scale.tried[position]), len(scale.tried) - 1
    if others < 1 or tried >= others:
        return ""
    share = tried / others
    words = "high" if share >= _SURE else "low" if share < _UNSURE else "medium"
    return (
        f"Certainty: {words}. As an example, the row was scored for {tried:,} of {others:,} other rows; it may help "
        "more rows, or do the same job as another."
    )
