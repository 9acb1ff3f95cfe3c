"""Scoring runs of a workspace: start, watch, cancel, continue, and open the result.

A run has a record in the database, a job folder with its progress, and blocks in the pair store; this module keeps the
three consistent.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from delift_core.errors import DeliftError, ScoringError, Stopped, WorkspaceError
from delift_core.jobs.backends import HERE, Placement, ensure_placeable
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.jobs.preparation import JobMode, ScoringRequest
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import NO_CALLBACKS, Callbacks, prepare_job, run_scoring_job
from delift_core.models.model_files import check_model
from delift_core.samples import Conversation, Sample
from delift_core.scoring.estimation.matrix_files import (
    BudgetedPairs,
    Utilities,
    positions_in,
    record_codes,
    without_same_record,
)
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.scoring.estimation.run_plan import MatrixName, SampleText
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.metrics import Metric
from delift_core.scoring.store import PairStore, ZeroShot
from delift_core.system.logs import log_event
from delift_core.system.memory import explains_out_of_memory
from delift_core.workspace import RunRecord, RunSpec, RunStatus, Workspace


@dataclass(frozen=True)
class ScoredRun:
    """A finished run: its samples, without those that could not be scored (`left_out`), and its pair store."""

    record: RunRecord
    pool: tuple[Sample, ...]
    target: tuple[Sample, ...]
    existing: tuple[Sample, ...]
    left_out: tuple[Sample, ...]
    store: PairStore

    @cached_property
    def position_of(self) -> dict[str, int]:
        """Position in the pool by sample id."""
        return {sample.id: position for position, sample in enumerate(self.pool)}

    @cached_property
    def position_of_line(self) -> dict[int, int]:
        """Position in the pool by line; of several samples of a line, the last."""
        return {sample.line: position for position, sample in enumerate(self.pool)}

    def utilities(self, metric: Metric) -> Utilities:
        """The utility matrices of this run; turns of the same record have utility 0 for each other.

        Raises:
            ScoringError: a block is missing or damaged; the run has to be continued.
            SelectionError: the matrices do not fit into memory.
        """
        with explains_out_of_memory("reading the utilities", len(self.pool)):
            found, records = self._stored_utilities(metric), record_codes(self.pool)
            if records is None:
                return found
            estimated = None if found.estimated is None else without_same_record(found.estimated, records)
            return replace(found, pool=without_same_record(found.pool, records), estimated=estimated)

    def _stored_utilities(self, metric: Metric) -> Utilities:
        pairs = self._budgeted_pairs
        if pairs is not None:
            with self._naming_run():
                found = pairs.read(metric) or pairs.assemble(self._texts(), metric)
            if found is not None:
                return found
        pool, target, existing = self._names
        matrix = self.store.utility_matrix(pool, pool, metric)
        of_target = self.store.utility_matrix(target, pool, metric) if target else None
        of_existing = self.store.utility_matrix(pool, existing, metric) if existing else None
        for part in (matrix, of_target, of_existing):
            if part is not None and np.isnan(part).any():
                raise ScoringError(
                    f"run {self.record.id}: {int(np.isnan(part).sum()):,} pairs are missing or damaged on disk; "
                    "continue the run on the Score page (or call score again), only those are scored"
                )
        diagonal = matrix.diagonal().copy()
        np.fill_diagonal(matrix, np.nan)
        return Utilities(matrix, diagonal, of_target, of_existing)

    def partial(self, metric: Metric) -> dict[MatrixName, PartialMatrix] | None:
        """The partial matrices of a run with a pair budget, over unique samples; None for a run of all pairs.

        Raises:
            ScoringError: the plan or a block is missing; the run has to be continued.
        """
        pairs = self._budgeted_pairs
        if pairs is None:
            return None
        with self._naming_run():
            return pairs.matrices(self._texts(), metric)

    def derived_files(self) -> set[Path]:
        """Files computed from the blocks of a run with a pair budget (plan, utilities), existing or not."""
        pairs = self._budgeted_pairs
        return pairs.files() if pairs is not None else set()

    @property
    def _budgeted_pairs(self) -> BudgetedPairs | None:
        """The pairs of a run with a pair budget; None for a run of all pairs."""
        if self.record.spec.pairs.unit == "all":
            return None
        return BudgetedPairs(self.store, RunSamples(*self._names), self.record.spec.pairs)

    @property
    def _names(self) -> tuple[tuple[str, ...], ...]:
        """Content hashes of the pool, target and existing samples."""
        return _hashes(self.pool), _hashes(self.target), _hashes(self.existing)

    def _texts(self) -> dict[str, SampleText]:
        return {s.content_hash: SampleText(s.prompt, s.response) for s in (*self.pool, *self.target, *self.existing)}

    @contextmanager
    def _naming_run(self) -> Iterator[None]:
        """Adds the run's id to errors."""
        try:
            yield
        except ScoringError as error:
            raise ScoringError(f"run {self.record.id}: {error}") from error

    @property
    def unique_positions(self) -> np.ndarray:
        """(n,) int64, position of each pool sample among the unique pool samples."""
        pool = _hashes(self.pool)
        return positions_in(pool, tuple(dict.fromkeys(pool)))

    def measures(self) -> ZeroShot:
        """The pool samples' statistics without an example, without embeddings."""
        return self.store.zero_shot_statistics(_hashes(self.pool))

    def alone(self) -> ZeroShot:
        """The pool samples' statistics without an example, with embeddings."""
        return self.store.zero_shot(_hashes(self.pool))

    def response_tokens(self) -> np.ndarray:
        """(n,) int64, tokens of each pool sample's response."""
        return self.measures().tokens

    def embeddings(self) -> np.ndarray:
        """(n + t + e, d) float32, model embeddings of the pool, target and existing samples, in this order."""
        return self.store.zero_shot(_hashes(self.pool + self.target + self.existing)).embeddings

    def token_counts(self) -> np.ndarray:
        """(n,) int64, tokens of each pool sample's prompt and response."""
        alone = self.measures()
        total: np.ndarray = alone.prompt_tokens + alone.tokens
        return total


def start(workspace: Workspace, spec: RunSpec, *, mode: JobMode, placement: Placement = HERE) -> RunRecord:
    """Starts or continues scoring in a worker process, which waits for other jobs (see `jobs.queue`).

    Pairs that any earlier run has scored are not scored again.

    Raises:
        ModelError: the model does not exist (the worker asks the hub).
        ScoringError: this run is being scored already, or Ray is not installed.
        NotAllowed: the visitor is a viewer.
    """
    workspace.require("job")
    ensure_placeable(placement)
    check_model(spec.model, ask_hub=False)
    record = workspace.runs.find(spec) or workspace.runs.add(spec)
    job = _job(workspace, record.id)
    prepare_job(job, *_request(workspace, spec, mode, placement))
    running = workspace.runs.set_status(record.id, "running", message="")  # first: the worker may end at once
    try:
        job.start()
    except BaseException:
        workspace.runs.update(record)
        raise
    log_event("run started", job=record.id, mode=mode, model=spec.model, actor=workspace.actor.name)
    return running


def run_here(
    workspace: Workspace, spec: RunSpec, callbacks: Callbacks = NO_CALLBACKS, placement: Placement = HERE
) -> RunRecord:
    """Scores in this process, for commands, once the device is free; returns the run's record.

    Raises:
        Stopped: `callbacks.stop` answered True; what is scored is kept.
        DeliftError: as `run_scoring_job`.
    """
    workspace.require("job")
    record = workspace.runs.find(spec) or workspace.runs.add(spec)
    workspace.runs.set_status(record.id, "running", message="")
    request, conversations = _request(workspace, spec, "score", placement)
    log_event("scoring began", job=record.id, mode="score", model=spec.model, samples=len(conversations))
    job = _job(workspace, record.id)
    prepare_job(job, request, conversations)

    def publish(progress: JobProgress) -> None:
        job.write_progress(progress)
        callbacks.publish(progress)

    try:
        run_scoring_job(request, conversations, replace(callbacks, publish=publish), job.ticket())
    except DeliftError as error:
        with suppress(OSError, WorkspaceError):  # on a full disk this fails too, and the first error is what matters
            publish(JobProgress("failed", message=str(error)))
            refresh(workspace, record.id)
        raise
    ended = refresh(workspace, record.id)[0]
    log_event("scoring ended", job=record.id, state=ended.status, pairs=ended.n_pairs)
    if ended.status == "cancelled":
        raise Stopped(f"stopped; what was scored is kept in {workspace.folder}, score again to go on from there")
    return ended


def refresh(workspace: Workspace, run_id: str) -> tuple[RunRecord, JobStatus]:
    """Updates a run's record from its job, and returns both."""
    record = workspace.runs.record(run_id)
    job = _job(workspace, run_id)
    status = job.status()
    current = _run_status(status)
    if record.status != current and job.folder.exists():  # without a job folder, the record is right
        progress, facts = status.progress, status.progress.facts
        changed = replace(
            record,
            status=current,
            message=progress.message if current == "failed" else "",
            context_key=facts.context_key or record.context_key,
            model_revision=facts.revision or record.model_revision,
            truncated=facts.truncated,
            n_pairs=progress.done,
            rendering=facts.rendering if facts.rendering.sharing else record.rendering,
        )
        record = workspace.runs.update(changed)
    return record, status


def cancel(workspace: Workspace, run_id: str) -> None:
    """Asks a run's worker to stop; finished blocks are kept.

    Raises:
        NotAllowed: the visitor is a viewer.
        WorkspaceError: there is no such run.
    """
    workspace.require("job")
    _job(workspace, workspace.runs.record(run_id).id).cancel()
    log_event("cancel asked", job=run_id, actor=workspace.actor.name)


def forget(workspace: Workspace, run_id: str) -> None:
    """Removes a run from the workspace; its scored pairs stay on disk, for other runs, until `gc`.

    Raises:
        ScoringError: the run is being scored.
        NotAllowed: the visitor is no admin.
        WorkspaceError: there is no such run, or a selection was made from it.
    """
    workspace.require("delete")
    job = _job(workspace, workspace.runs.record(run_id).id)
    if job.status().active:
        raise ScoringError(f"run {run_id} is being scored: wait for it, or cancel it first")
    workspace.runs.delete(run_id)
    log_event("run deleted", job=run_id, actor=workspace.actor.name)


def open_run(workspace: Workspace, run_id: str) -> ScoredRun:
    """Opens a finished run with its samples.

    Raises:
        ScoringError: the run is not finished, or its scored pairs are gone.
    """
    record, _ = refresh(workspace, run_id)
    if record.status != "done":
        raise ScoringError(f"run {run_id} is {record.status}, not done; start or continue it on the Score page")
    store = PairStore(workspace.utility_folder / record.context_key)
    parts = []
    left_out: list[Sample] = []
    for dataset_id in (record.spec.pool_id, record.spec.target_id, record.spec.existing_id):
        samples = workspace.datasets.load(dataset_id).samples if dataset_id else ()
        scored = store.zero_shot_statistics(_hashes(samples)).scored
        parts.append(tuple(sample for sample, usable in zip(samples, scored, strict=True) if usable))
        left_out.extend(sample for sample, usable in zip(samples, scored, strict=True) if not usable)
    if not parts[0]:
        raise ScoringError(f"the scored pairs of run {run_id} are gone from {store.folder}; score the pool again")
    return ScoredRun(record, parts[0], parts[1], parts[2], tuple(left_out), store)


def _job(workspace: Workspace, run_id: str) -> JobFolder:
    return JobFolder(workspace.jobs_folder / run_id)


def _run_status(status: JobStatus) -> RunStatus:
    """The status of a run in the database; one whose time was estimated is queued."""
    if status.active:
        return "running"
    return "queued" if status.state == "forecast" else cast(RunStatus, status.state)


def _request(
    workspace: Workspace, spec: RunSpec, mode: JobMode, placement: Placement = HERE
) -> tuple[ScoringRequest, dict[str, Conversation]]:
    parts: list[tuple[str, ...]] = []
    conversations: dict[str, Conversation] = {}
    for dataset_id in (spec.pool_id, spec.target_id, spec.existing_id):
        samples = workspace.datasets.load(dataset_id).samples if dataset_id else ()
        parts.append(_hashes(samples))
        conversations.update((sample.content_hash, sample.conversation) for sample in samples)
    request = ScoringRequest(
        mode=mode,
        model=spec.model,
        device=spec.device,
        dtype=spec.dtype,
        template=spec.template,
        utility_folder=str(workspace.utility_folder),
        samples=RunSamples(*parts),
        placement=placement,
        pairs=spec.pairs,
        template_arguments=spec.template_arguments,
    )
    return request, conversations


def _hashes(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    return tuple(sample.content_hash for sample in samples)
