"""The evaluation of a subset: of a workspace's stored selection, or of an export by its manifest and held-out rows.

Evaluations of stored selections are started, cancelled and found here, for the pages. One is stored in
WORKSPACE/evaluations/SELECTION.HASH, where HASH is of its settings. The work is done by `evaluate`.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.manifest import WRITTEN, EditEntry, Manifest, read_manifest
from delift_core.curation.selector import NotMeasured, SelectionProblem
from delift_core.data.loading.record_reader import reader_of, reparse
from delift_core.errors import DataError, ExportError, SelectionError
from delift_core.evaluation.background import EvaluationJob, Mode, prepare_job
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning, methods_of_utilities
from delift_core.evaluation.method_orders import utility_order
from delift_core.jobs.folder import JobFolder, job_folders
from delift_core.models.model_files import check_model
from delift_core.models.prompts import TemplateChoice, TemplateName
from delift_core.samples import Sample
from delift_core.selection.methods import METHODS, asks_model
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget
from delift_core.system.callbacks import OnProgress, Progress
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
        if method in against and not asks_model(method) and method != "random"
    )
    return EvaluationRequest(
        pool=run.pool,
        subset_positions=tuple(positions.tolist()),
        heldout=heldout,
        target=run.target if problem.config.needed_set == "target" else (),
        model=run.record.spec.model,
        device=run.record.spec.device,
        template=run.record.spec.template,
        template_arguments=run.record.spec.template_arguments,
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
    if arm in METHODS:
        with suppress(NotMeasured):
            if np.array_equal(problem.order_of(arm)[: len(taken)], taken):
                return SelectionRequest(problem.config, budget, problem.metric, method=arm)
    rest = problem.greedy.order[~np.isin(problem.greedy.order, taken)]
    order = np.concatenate([taken, rest])
    return SelectionRequest(problem.config, budget, problem.metric, method="given", given=order)


def request_from_manifest(
    manifest_path: Path,
    heldout: tuple[Sample, ...],
    *,
    against: tuple[str, ...] = ("random", "full"),
    workspace: Path | None = None,
    publish: OnProgress = lambda progress: None,
) -> tuple[EvaluationRequest, str]:
    """What to evaluate of the subset that a manifest describes, and the revision of the model that chose it.

    Args:
        manifest_path: the .manifest.json of an export; the pool must still be where it was read, or beside it.
        heldout, against: see `EvaluationRequest`.
        workspace: folder of the one that scored the pool; read only for methods that need utilities.
        publish: called with what cannot be checked.

    Raises:
        ExportError: the manifest cannot be read.
        ModelError: its model is not there.
        DataError: the pool cannot be read, or as `EvaluationRequest`.
    """
    manifest = read_manifest(manifest_path)
    check_model(manifest.model.name)
    pool = _pool(manifest, manifest_path)
    request = EvaluationRequest(
        pool=pool,
        subset_positions=tuple(at for at, row in enumerate(manifest.rows) if row.status in WRITTEN),
        heldout=heldout,
        target=_target(manifest, manifest_path, publish),
        model=manifest.model.name,
        template=_template(manifest, manifest_path.name),
        template_arguments=manifest.model.template_arguments,
        against=against,
        others=_others(manifest, against, workspace),
    )
    return request, manifest.model.revision


def _others(manifest: Manifest, against: tuple[str, ...], workspace: Path | None) -> tuple[ExtraArm, ...]:
    if workspace is None:
        return ()
    return tuple(ExtraArm(name, utility_order(name, manifest, workspace)) for name in methods_of_utilities(against))


def _pool(manifest: Manifest, manifest_path: Path) -> tuple[Sample, ...]:
    dataset = manifest.pool.load(manifest_path)
    if [sample.id for sample in dataset.samples] != [row.id for row in manifest.rows]:
        raise ExportError(
            f"{manifest_path.name} is damaged at rows: they are not the pool's; export the selection again"
        )
    records = {at: edit.detail for edit in manifest.edits if _changes_text(edit) for at in edit.sample_ids}
    reader = reader_of(dataset)
    return tuple(
        reparse(sample, records[sample.id], reader) if records.get(sample.id) else sample for sample in dataset.samples
    )


def _changes_text(edit: EditEntry) -> bool:
    return edit.action == "text" and edit.state == "applied"


def _target(manifest: Manifest, manifest_path: Path, publish: OnProgress) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for entry in manifest.inputs:
        if entry.role == "target":
            try:
                samples.extend(entry.load(manifest_path).samples)
            except DataError as error:
                note = f"note: {error}; held-out rows that are in the target too are not found"
                publish(Progress("checking", message=note))
    return tuple(samples)


def _template(manifest: Manifest, name: str) -> TemplateChoice:
    if manifest.model.template not in get_args(TemplateName):
        raise ExportError(f"{name} is damaged at model.template: {manifest.model.template!r} is not a template")
    return cast(TemplateChoice, manifest.model.template)
