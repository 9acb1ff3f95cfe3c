"""Evaluations of a workspace's stored selections: start, cancel and find them. Called by the pages.

An evaluation is stored in WORKSPACE/evaluations/SELECTION.HASH, where HASH is of its settings.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import numpy as np

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.selector import NotMeasured, SelectionProblem
from delift_core.errors import SelectionError
from delift_core.evaluation.background import EvaluationJob, Mode, prepare_job
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning
from delift_core.jobs.folder import JobFolder, job_folders
from delift_core.samples import Sample
from delift_core.selection.methods import METHODS, MODEL_METHODS
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget
from delift_core.system.logs import log_event
from delift_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The settings on the page, see `EvaluationRequest`; `selections` are ids of other selections to compare with."""

    heldout_id: str
    against: tuple[str, ...] = ("random", "full")
    selections: tuple[str, ...] = ()
    seeds: int = 3
    examples: int = 0
    generate: int = 0
    tuning: FineTuning = FineTuning()
    save_adapter: bool = False


def folder_of(workspace: Workspace, selection_id: str, settings: EvaluationSettings) -> JobFolder:
    """The folder of an evaluation, whether it exists or not."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:10]
    return JobFolder(workspace.evaluations_folder / f"{selection_id}.{digest}", "evaluation")


def evaluations(workspace: Workspace, selection_id: str) -> tuple[JobFolder, ...]:
    """The evaluations of a selection, newest first."""
    found = (job for job in job_folders(workspace.folder, "evaluation") if job.owner == selection_id)
    return tuple(sorted(found, key=lambda job: -job.folder.stat().st_mtime))


def request_for(workspace: Workspace, curated: CuratedSelection, settings: EvaluationSettings) -> EvaluationRequest:
    """The request of an evaluation: the subset after edits, and the arms to compare it with.

    Orders of methods that need no model are computed here, from the run's stored data.

    Raises:
        DataError: there are no held-out rows, or the subset is empty.
        SelectionError: the pool is too large for a method.
    """
    heldout = workspace.datasets.load(settings.heldout_id).samples
    request = request_from_positions(curated.problem, curated.subset.positions, heldout, settings.against)
    others = tuple(
        ExtraArm(f"selection {name}", tuple(open_selection(workspace, name).subset.positions.tolist()))
        for name in settings.selections
    )
    return replace(
        request,
        pool=curated.samples,
        others=(*others, *request.others),
        seeds=settings.seeds,
        examples=settings.examples,
        generate=settings.generate,
        tuning=settings.tuning,
    )


def request_from_positions(
    problem: SelectionProblem, positions: np.ndarray, heldout: tuple[Sample, ...], against: tuple[str, ...]
) -> EvaluationRequest:
    """The request for rows of a problem's pool; orders of methods that ask no model come from the run.

    Args:
        positions: (k,) int64 in the pool, the first to take first.
        against: see `EvaluationRequest`.

    Raises:
        DataError, SelectionError: as `request_for`.
    """
    run = problem.run
    others = (
        ExtraArm(method, tuple(problem.order_of(method)[: len(positions)].tolist()))
        for method in METHODS
        if method in against and method not in MODEL_METHODS and method != "random"
    )
    return EvaluationRequest(
        pool=run.pool,
        subset_positions=tuple(positions.tolist()),
        heldout=heldout,
        target=run.target if problem.config.needed_set == "target" else (),
        model=run.record.spec.model,
        device=run.record.spec.device,
        template=run.record.spec.template,
        against=against,
        others=tuple(others),
    )


def start(workspace: Workspace, curated: CuratedSelection, settings: EvaluationSettings, mode: Mode) -> JobFolder:
    """Starts or continues an evaluation in a worker process, which waits for other jobs (see `jobs.queue`).

    Raises:
        ScoringError: this evaluation is running already.
        DataError: as `request_for`.
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    job = folder_of(workspace, curated.record.id, settings)
    prepare_job(job, EvaluationJob(mode, settings.save_adapter, request_for(workspace, curated, settings)))
    job.start()
    log_event("evaluation started", job=job.folder.name, mode=mode, actor=workspace.actor.name)
    return job


def cancel(workspace: Workspace, job: JobFolder) -> None:
    """Asks an evaluation's worker to stop; results of finished runs are kept.

    Raises:
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    job.cancel()
    log_event("cancel asked", job=job.folder.name, actor=workspace.actor.name)


def arm_request(problem: SelectionProblem, arm: str, positions: Sequence[int]) -> SelectionRequest:
    """The request for the rows of an evaluation's arm, under the problem's objective.

    If the rows are the first ones of a method's order, the request is by that method. Otherwise the rows are given,
    followed by the greedy order of the other rows.

    Args:
        arm: name of the arm.
        positions: in the pool, without repeats, best first.

    Raises:
        SelectionError: there are no rows.
    """
    if not positions:
        raise SelectionError("this arm has no rows to save as a selection")
    budget, taken = Budget("rows", len(positions)), np.asarray(positions, dtype=np.int64)
    for method in METHODS:
        if method == arm:
            with suppress(NotMeasured):
                if np.array_equal(problem.order_of(method)[: len(taken)], taken):
                    return SelectionRequest(problem.config, budget, problem.metric, method=method)
    rest = problem.greedy.order[~np.isin(problem.greedy.order, taken)]
    order = np.concatenate([taken, rest])
    return SelectionRequest(problem.config, budget, problem.metric, method="given", given=order)
