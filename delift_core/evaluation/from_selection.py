"""Evaluations of a workspace's kept selections: made, started, found again. Pages call these.

The folder is the record: WORKSPACE/evaluations/SELECTION.HASH, where the hash is of what was asked for.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from delift_core.baselines.ordering import MODEL_METHODS
from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.problem import SelectionProblem
from delift_core.errors import SelectionError
from delift_core.evaluation.background import EvaluationFolder, Mode
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning
from delift_core.evaluation.method_orders import kept_order
from delift_core.selection.methods import METHODS, Method
from delift_core.selection.types import Budget, Selection
from delift_core.system.logs import log_event
from delift_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the page, beside the selection; see `EvaluationRequest`."""

    heldout_id: str
    against: tuple[str, ...] = ("random", "full")
    selections: tuple[str, ...] = ()
    seeds: int = 3
    examples: int = 0
    generate: int = 0
    tuning: FineTuning = FineTuning()
    save_adapter: bool = False


def folder_of(workspace: Workspace, selection_id: str, plan: Plan) -> EvaluationFolder:
    """The folder of this evaluation, whether it was started or not."""
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()[:10]
    return EvaluationFolder(workspace.evaluations_folder / f"{selection_id}.{digest}")


def evaluations(workspace: Workspace, selection_id: str) -> tuple[EvaluationFolder, ...]:
    """The evaluations of a selection that were ever started, newest first."""
    found = [path.parent for path in workspace.evaluations_folder.glob(f"{selection_id}.*/request.json")]
    return tuple(EvaluationFolder(path) for path in sorted(found, key=lambda path: -path.stat().st_mtime))


def request_for(workspace: Workspace, curated: CuratedSelection, plan: Plan) -> EvaluationRequest:
    """The request: the subset as it stands after edits, and what it is compared with; the orders of methods that the
    run's stored numbers suffice for come from there.

    Raises:
        DataError: there are no held-out rows, or the subset is empty.
        SelectionError: a method takes no pool of this size.
    """
    run = curated.problem.run
    others = [
        ExtraArm(f"selection {name}", tuple(open_selection(workspace, name).subset.positions.tolist()))
        for name in plan.selections
    ]
    k = len(curated.subset.positions)
    others += [
        ExtraArm(method, tuple(curated.problem.order_of(method)[:k].tolist()))
        for method in METHODS
        if method in plan.against and method not in MODEL_METHODS and method != "random"
    ]
    return EvaluationRequest(
        pool=curated.samples,
        subset_positions=tuple(curated.subset.positions.tolist()),
        heldout=workspace.datasets.load(plan.heldout_id).samples,
        target=run.target if curated.problem.config.stage == "task" else (),
        model=run.record.spec.model,
        device=run.record.spec.device,
        template=run.record.spec.template,
        against=plan.against,
        others=tuple(others),
        seeds=plan.seeds,
        examples=plan.examples,
        generate=plan.generate,
        tuning=plan.tuning,
    )


def start(workspace: Workspace, curated: CuratedSelection, plan: Plan, mode: Mode) -> EvaluationFolder:
    """Starts (or goes on with) an evaluation in a worker process, which waits for its turn, see `jobs.queue`.

    Raises:
        ScoringError: this very evaluation goes on already.
        DataError: as `request_for`.
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    job = folder_of(workspace, curated.record.id, plan)
    job.prepare(request_for(workspace, curated, plan), mode, save_adapter=plan.save_adapter)
    job.start()
    log_event("evaluation started", job=job.folder.name, mode=mode, actor=workspace.actor.name)
    return job


def cancel(workspace: Workspace, job: EvaluationFolder) -> None:
    """Asks an evaluation's worker to stop; finished runs are kept.

    Raises:
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    job.cancel()
    log_event("cancel asked", job=job.folder.name, actor=workspace.actor.name)


def select_arm(workspace: Workspace, problem: SelectionProblem, arm: str, positions: Sequence[int]) -> Selection:
    """A selection of the rows that an arm of an evaluation trained on; what they cover is by the problem's objective.

    Where a method put the whole pool in order and the rows are the first of it, the selection is that method's, and
    any budget can be cut from it. Else the rows are given, with the greedy order of the others after them.

    Args:
        arm: its name.
        positions: in the pool, each once, the first to take first.

    Raises:
        SelectionError: there are none.
    """
    if not positions:
        raise SelectionError("there are no rows to keep as a selection")
    budget, taken = Budget("rows", len(positions)), np.asarray(positions, dtype=np.int64)
    for method in METHODS:
        order = _order_of_arm(workspace, problem, method) if method == arm else None
        if order is not None and np.array_equal(order[: len(taken)], taken):
            return problem.select(budget, greedy=problem.arrange_order(order, budget), method=method)
    rest = problem.greedy.order[~np.isin(problem.greedy.order, taken)]
    return problem.select(budget, greedy=problem.arrange_order(np.concatenate([taken, rest]), budget), method="given")


def _order_of_arm(workspace: Workspace, problem: SelectionProblem, method: Method) -> np.ndarray | None:
    return kept_order(workspace, problem, method) if method in MODEL_METHODS else problem.order_of(method)
