"""What `rerun` selects: the request of a manifest, and its rows where this machine selects others.

With the same kind of processor, packages and number of threads, a rerun selects the same rows. Elsewhere floating-point
sums have another order: utilities differ in their last digits, and greedy may break a tie differently. The manifest has
the rows in the order of selection, their gains, and the residual gains of all other rows. If these are reproduced
within rounding and the selections first differ at a tie, the rows of the manifest are used.
"""

from dataclasses import dataclass, replace

import numpy as np

from delift_core.curation.manifest import Manifest
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.curation.selector import SelectionProblem, Selector
from delift_core.export.subset_files import package_versions
from delift_core.selection.coverage import gains_along, residual_gains, value
from delift_core.selection.request import SelectionRequest, parse_engine
from delift_core.selection.types import FixedRows, GreedyOrder, Quotas, Selection
from delift_core.system.texts import Check

ROUNDING = {"float32": 1e-5, "mixed": 2e-2, "bfloat16": 2e-2}
"""Rounding error of one utility by dtype, in units of distance (or nats per token), with a margin. Measured for the
bundled model: up to 3e-6 in float32, between code for AVX-512, AVX2 and SSE4, and up to 1.5e-2 in mixed precision."""
MIN_WORTH, MIN_WORTH_OF_SOME_PAIRS = 0.99, 0.95
"""The smallest ratio of the objective of the manifest's rows to that of this machine's rows, if ties cannot be
detected. It is lower with a pair budget, since other pairs may be scored here."""
MAX_OTHER_ROWS = 0.1
"""The largest share of rows (at least one row) that may differ with a method other than DELIFT, whose scores are not in
the manifest."""
_LABEL = "Chosen rows"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The manifest's selection: positions in this run's pool (int64), and the gains of k chosen and n scored rows."""

    chosen: np.ndarray
    gains: np.ndarray
    order: np.ndarray
    residual: np.ndarray


def request_of_manifest(manifest: Manifest, run: ScoredRun) -> SelectionRequest:
    """The request that the manifest's selection answers, for a run with its inputs and its model.

    Raises:
        SelectionError: the engine was removed.
    """
    kept, dropped = (
        tuple(sorted(run.position_of[name] for name in names))
        for names in (manifest.fixed.kept, manifest.fixed.dropped)
    )
    method = "delift" if manifest.method is None else manifest.method.name
    given = None
    if method == "given":
        rank_of = {row.id: row.greedy_rank for row in manifest.rows if row.greedy_rank is not None}
        ranks = [rank_of.get(sample.id, len(rank_of)) for sample in run.pool]
        given = np.argsort(ranks, kind="stable").astype(np.int64)
    return SelectionRequest(
        manifest.objective,
        manifest.budget,
        manifest.metric,
        _quotas(manifest, run),
        FixedRows(kept, dropped),
        method,
        "auto" if manifest.engine is None else parse_engine(manifest.engine.name),
        manifest.seed,
        given,
    )


def _quotas(manifest: Manifest, run: ScoredRun) -> Quotas | None:
    """The manifest's quotas over its groups; each row's group stands with it in the manifest."""
    if manifest.quotas is None:
        return None
    code_of = {group.label: code for code, group in enumerate(manifest.quotas.groups)}
    codes = np.zeros(len(run.pool), dtype=np.int64)
    for row in manifest.rows:
        if row.group is not None and row.id in run.position_of:
            codes[run.position_of[row.id]] = code_of[row.group]
    return Quotas(manifest.quotas.column, manifest.quotas.groups, codes)


def reconcile(manifest: Manifest, selector: Selector, request: SelectionRequest) -> tuple[Selection, Check]:
    """The selection to write, which is the manifest's if rounding explains the difference, and a check that says so.

    Args:
        selector: of a run with the inputs and the model of the manifest.
        request: of the manifest.
    """
    problem, made = selector.problem(request.metric, request.config), selector.select(request)
    recorded = _recorded(manifest, problem)
    if recorded is None:
        return made, Check(_LABEL, False, "other rows can be scored here than for the manifest")
    if manifest.budget.unit != "tokens" and len(made.chosen) != len(recorded.chosen):
        what = f"{len(made.chosen):,} rows are chosen here and the manifest has {len(recorded.chosen):,}"
        return made, Check(_LABEL, False, what)
    if np.array_equal(made.chosen, recorded.chosen):
        return made, Check(_LABEL, True, "unchanged")
    along, here = gains_along(problem.kernel, recorded.chosen), residual_gains(problem.kernel, recorded.chosen)
    off = float(np.abs(np.concatenate([along - recorded.gains, here - recorded.residual])).max())
    ok, why = _too_far(manifest, problem, off) or _explained(manifest, problem, made, recorded, along, off)
    others, lost = np.setdiff1d(made.chosen, recorded.chosen), np.setdiff1d(recorded.chosen, made.chosen)
    if ok:
        what = f"{len(others):,} of {len(made.chosen):,} rows otherwise" if len(others) else "them in another order"
        detail = f"those of the manifest; this machine would have picked {what}, {why}"
        return _as_recorded(selector, request, made, recorded), Check(_LABEL, True, detail)
    what = "them in another order"
    if len(others):
        what = f"{_line_list(problem, others)} instead of {_line_list(problem, lost)}"
    return made, Check(_LABEL, False, f"this machine picked {what}: {why}{_versions(manifest)}")


def _too_far(manifest: Manifest, problem: SelectionProblem, off: float) -> tuple[bool, str] | None:
    """Refuses differences in gains beyond rounding; None if rounding explains them.

    A gain is a sum over r represented rows. Independent errors of size u add up to u * sqrt(r); four times that is
    allowed. With a pair budget the test does not apply, since other pairs may be scored.
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
    manifest: Manifest, problem: SelectionProblem, made: Selection, recorded: _Recorded, along: np.ndarray, off: float
) -> tuple[bool, str]:
    """Whether rounding explains that the selections differ, and why."""
    agree = f"gains agree with the manifest's to {off:.1g}"
    if made.method != "delift":
        others = len(np.setdiff1d(made.chosen, recorded.chosen))
        most = max(1, int(MAX_OTHER_ROWS * len(made.chosen)))
        return others <= most, f"as the method's scores round otherwise (at most {most:,} rows may differ; {agree})"
    if problem.partial is not None or manifest.budget.unit == "tokens":
        share = value(problem.kernel, recorded.chosen) / max(made.certificate.value, 1e-30)
        least = MIN_WORTH if problem.partial is None else MIN_WORTH_OF_SOME_PAIRS
        return share >= least, f"and the manifest's rows are worth {share:.1%} of those here"
    at = int(np.flatnonzero(made.chosen != recorded.chosen)[0])
    behind = float(made.chosen_gains[at] - along[at])
    if behind <= 4 * off:  # both gains have an error of about `off`; a factor 2 is the margin
        return True, f"by ties within rounding ({agree})"
    here, there = _line_list(problem, made.chosen[at : at + 1]), _line_list(problem, recorded.chosen[at : at + 1])
    return False, f"pick {at + 1:,} is no tie, since {here} adds {behind:.2g} more than {there} ({agree})"


def _as_recorded(selector: Selector, request: SelectionRequest, made: Selection, recorded: _Recorded) -> Selection:
    """The manifest's rows, with gains, certificate and random baseline by this machine's utilities."""
    first = np.concatenate([recorded.chosen, recorded.order[~np.isin(recorded.order, recorded.chosen)]])
    selection = selector.select(replace(request, engine="auto", method="given", given=first))
    kernel = selector.problem(request.metric, request.config).kernel
    whole = GreedyOrder(recorded.order, gains_along(kernel, recorded.order))
    return replace(selection, greedy=whole, engine=made.engine, method=made.method)


def _recorded(manifest: Manifest, problem: SelectionProblem) -> _Recorded | None:
    """The manifest's selection as positions in this run's pool; None if other rows were scored."""
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


def _line_list(problem: SelectionProblem, positions: np.ndarray) -> str:
    named = ", ".join(str(problem.run.pool[position].line) for position in positions[:_NAMED].tolist())
    more = f" and {len(positions) - _NAMED:,} more" if len(positions) > _NAMED else ""
    return f"line{'s' if len(positions) > 1 else ''} {named}{more}"


def _versions(manifest: Manifest) -> str:
    """The packages whose version changed, in brackets; "" if none."""
    here = {package.name: package.version for package in package_versions()}
    changed = [
        f"{package.name} {package.version} then, {here.get(package.name, 'none')} here"
        for package in manifest.versions
        if here.get(package.name) != package.version
    ]
    return f" ({'; '.join(changed)})" if changed else ""
