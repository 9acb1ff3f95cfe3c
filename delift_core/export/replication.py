"""Whose rows a `rerun` writes where this machine would choose others than the manifest has.

On the same kind of processor, with the same packages and number of threads, every number comes out as then, and so do
the rows. Elsewhere float arithmetic sums in another order: utilities differ in their last digits, and greedy may take
the other of two rows that are worth the same. The manifest holds what decides: the rows in the order they were picked,
the gain of each, and what every other row would still have added. If these numbers come out here to within rounding,
and the choices part at a tie, the rows of the manifest are used.
"""

from dataclasses import dataclass, replace

import numpy as np

from delift_core.curation.manifest import Manifest
from delift_core.curation.problem import SelectionProblem
from delift_core.export.subset_files import package_versions
from delift_core.selection.coverage import gains_along, residual_gains, value
from delift_core.selection.types import GreedyOrder, Selection
from delift_core.system.check import Check

ROUNDING = {"float32": 1e-5, "mixed": 2e-2, "bfloat16": 2e-2}
"""By how much rounding moves one utility, in units of distance (or nats per token), with a margin. Of the bundled model
it was up to 3e-6 in float32, between the libraries' code for AVX-512, AVX2 and SSE4, and up to 1.5e-2 in mixed."""
WORTH, WORTH_OF_SOME_PAIRS = 0.99, 0.95
"""The share of the objective of this machine's own rows that those of the manifest reach, where ties cannot be told. A
budget of pairs allows more: it is reckoned by the pairs that were scored here, which need not be the same."""
OTHER_ROWS = 0.1
"""The share of the rows, and one row always, that another method than DELIFT may choose otherwise: its scores are not
in the manifest."""
_LABEL = "Chosen rows"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The choice of then: positions in this run's pool, and what the manifest says of them."""

    chosen: np.ndarray
    gains: np.ndarray
    order: np.ndarray
    residual: np.ndarray


def settle(manifest: Manifest, problem: SelectionProblem, made: Selection) -> tuple[Selection, Check]:
    """The selection to write, that of the manifest wherever rounding explains the difference, and what is said of it.

    Args:
        problem: of the inputs and the model of the manifest.
        made: what was chosen here, in the manifest's way.
    """
    then = _recorded(manifest, problem)
    if then is None:
        return made, Check(_LABEL, False, "other rows can be scored here than then")
    if manifest.budget.unit != "tokens" and len(made.chosen) != len(then.chosen):
        what = f"{len(made.chosen):,} rows are chosen here and the manifest has {len(then.chosen):,}"
        return made, Check(_LABEL, False, what)
    if np.array_equal(made.chosen, then.chosen):
        return made, Check(_LABEL, True, "as then")
    along, here = gains_along(problem.kernel, then.chosen), residual_gains(problem.kernel, then.chosen)
    off = float(np.abs(np.concatenate([along - then.gains, here - then.residual])).max())
    ok, why = _too_far(manifest, problem, off) or _explained(manifest, problem, made, then, along, off)
    others, lost = np.setdiff1d(made.chosen, then.chosen), np.setdiff1d(then.chosen, made.chosen)
    if ok:
        what = f"{len(others):,} of {len(made.chosen):,} rows otherwise" if len(others) else "them in another order"
        said = f"those of the manifest; this machine would have picked {what}, {why}"
        return _as_recorded(manifest, problem, made, then), Check(_LABEL, True, said)
    what = f"{_lines(problem, others)} instead of {_lines(problem, lost)}" if len(others) else "them in another order"
    return made, Check(_LABEL, False, f"this machine picked {what}: {why}{_versions(manifest)}")


def _too_far(manifest: Manifest, problem: SelectionProblem, off: float) -> tuple[bool, str] | None:
    """Refuses numbers that rounding does not explain; None where it does.

    A gain is a sum over r represented rows. Errors of size u with either sign add up to u * sqrt(r), of which fourfold
    is allowed. Of a budget of pairs nothing can be said: where estimates are close, other pairs are scored.
    """
    if problem.partial is not None:
        return None
    kernel, utilities = problem.kernel, problem.utilities.pool
    one = ROUNDING.get(manifest.model.dtype, max(ROUNDING.values()))
    if manifest.metric == "pmi":
        one *= float(problem.run.response_tokens().max())
    largest = max(float(np.nanmax(utilities, initial=0)), -float(np.nanmin(utilities, initial=0)))
    if largest > 0:  # weights and scaling multiply the error as they do the utilities
        one *= max(1.0, float(kernel.max()) / largest)
    allowed = 4 * one * kernel.shape[0] ** 0.5
    if off <= allowed:
        return None
    return False, f"gains differ from the manifest's by up to {off:.2g}, and rounding explains {allowed:.1g}"


def _explained(
    manifest: Manifest, problem: SelectionProblem, made: Selection, then: _Recorded, along: np.ndarray, off: float
) -> tuple[bool, str]:
    """Whether rounding explains that the choices part, and in which words."""
    agree = f"gains agree with the manifest's to {off:.1g}"
    if made.method != "delift":
        others = len(np.setdiff1d(made.chosen, then.chosen))
        most = max(1, int(OTHER_ROWS * len(made.chosen)))
        return others <= most, f"as the method's scores round otherwise (at most {most:,} rows may differ; {agree})"
    if problem.partial is not None or manifest.budget.unit == "tokens":
        share = value(problem.kernel, then.chosen) / max(made.certificate.value, 1e-30)
        least = WORTH if problem.partial is None else WORTH_OF_SOME_PAIRS
        return share >= least, f"and the manifest's rows are worth {share:.1%} of those here"
    at = int(np.flatnonzero(made.chosen != then.chosen)[0])
    behind = float(made.chosen_gains[at] - along[at])
    if behind <= 4 * off:  # each of the two gains is off by about as much as those that the manifest has; twice that
        return True, f"by ties within rounding ({agree})"
    here, there = _lines(problem, made.chosen[at : at + 1]), _lines(problem, then.chosen[at : at + 1])
    return False, f"pick {at + 1:,} is no tie, since {here} adds {behind:.2g} more than {there} ({agree})"


def _as_recorded(manifest: Manifest, problem: SelectionProblem, made: Selection, then: _Recorded) -> Selection:
    """The rows of then, with their gains, certificate and random baseline by this machine's utilities."""
    first = np.concatenate([then.chosen, then.order[~np.isin(then.order, then.chosen)]])
    given = GreedyOrder(first, gains_along(problem.kernel, first))
    selection = problem.select(
        manifest.budget, seed=manifest.seed, fixed=made.fixed, quotas=made.quotas, greedy=given, method="given"
    )
    whole = GreedyOrder(then.order, gains_along(problem.kernel, then.order))
    return replace(selection, greedy=whole, engine=made.engine, method=made.method)


def _recorded(manifest: Manifest, problem: SelectionProblem) -> _Recorded | None:
    """What the manifest says of this run's pool; None where other rows of it were scored."""
    position_of = problem.run.position_of
    scored = [row for row in manifest.rows if row.greedy_rank is not None]
    if {row.id for row in scored} != set(position_of):
        return None
    residual = np.zeros(len(scored))
    for row in scored:
        residual[position_of[row.id]] = row.residual_gain or 0.0
    picks = sorted((row for row in scored if row.rank is not None), key=lambda row: row.rank or 0)
    order = sorted(scored, key=lambda row: row.greedy_rank or 0)
    return _Recorded(
        np.array([position_of[row.id] for row in picks], dtype=np.int64),
        np.array([row.gain or 0.0 for row in picks]),
        np.array([position_of[row.id] for row in order], dtype=np.int64),
        residual,
    )


def _lines(problem: SelectionProblem, positions: np.ndarray) -> str:
    named = ", ".join(str(problem.run.pool[position].line) for position in positions[:_NAMED].tolist())
    more = f" and {len(positions) - _NAMED:,} more" if len(positions) > _NAMED else ""
    return f"line{'s' if len(positions) > 1 else ''} {named}{more}"


def _versions(manifest: Manifest) -> str:
    """Which packages changed since then, in brackets."""
    here = {package.name: package.version for package in package_versions()}
    changed = [
        f"{package.name} {package.version} then, {here.get(package.name, 'none')} here"
        for package in manifest.versions
        if here.get(package.name) != package.version
    ]
    return f" ({'; '.join(changed)})" if changed else ""
