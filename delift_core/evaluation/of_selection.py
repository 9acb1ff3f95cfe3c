"""Evaluations of a workspace's kept selections: made, started, found again. Pages call these.

The folder is the record: WORKSPACE/evaluations/SELECTION.HASH, where the hash is of what was asked for.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from delift_core.baselines import scores
from delift_core.baselines.orders import by_score
from delift_core.curation import CuratedSelection, open_selection
from delift_core.errors import SelectionError
from delift_core.evaluation.job import EvaluationFolder, Mode
from delift_core.evaluation.request import EvaluationRequest, FineTuning, Other
from delift_core.logs import note_event
from delift_core.problem import SelectionProblem
from delift_core.selection.coverage import gains_along
from delift_core.selection.engine import select_from_kernel
from delift_core.selection.types import Budget, GreedyOrder, Selection
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
    """The request: the subset as it stands after edits, and what it is compared with.

    Raises:
        DataError: there are no held-out rows, or the subset is empty.
    """
    run = curated.problem.run
    others = [
        Other(f"selection {name}", tuple(open_selection(workspace, name).subset.positions.tolist()))
        for name in plan.selections
    ]
    if "column-mean" in plan.against:
        means = by_score(scores.column_means(curated.problem.utilities.pool))
        others.append(Other("column-mean", tuple(means[: len(curated.subset.positions)].tolist())))
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
    note_event("evaluation started", job=job.folder.name, mode=mode, actor=workspace.actor.name)
    return job


def cancel(workspace: Workspace, job: EvaluationFolder) -> None:
    """Asks an evaluation's worker to stop; finished runs are kept.

    Raises:
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    job.cancel()
    note_event("cancel asked", job=job.folder.name, actor=workspace.actor.name)


def select_rows(problem: SelectionProblem, positions: Sequence[int]) -> Selection:
    """A selection of rows that something else chose, such as a baseline; what they cover is by the problem's objective.

    Args:
        positions: in the pool, each once, the first to take first; after them stands the greedy order of the others.

    Raises:
        SelectionError: there are none.
    """
    if not positions:
        raise SelectionError("there are no rows to keep as a selection")
    taken = np.asarray(positions, dtype=np.int64)
    rest = problem.greedy.order[~np.isin(problem.greedy.order, taken)]
    order = np.concatenate([taken, rest])
    given = GreedyOrder(order, gains_along(problem.kernel, order))
    return select_from_kernel(problem.config, Budget("rows", len(taken)), problem.kernel, given)
