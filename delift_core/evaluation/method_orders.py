"""Orders by methods that need the model (IFD, SelectIT, LESS): computed once for a run's rows, and cached with the
results of evaluations for evaluations, pages and commands alike.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from delift_core.baselines import LessSettings
from delift_core.curation.manifest import Manifest
from delift_core.curation.run_orders import order_of_run
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.selector import NotMeasured, SelectionProblem, Selector
from delift_core.errors import DataError, ScoringError
from delift_core.evaluation.cost import ResultCache
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.models.prompts import template_key
from delift_core.samples import Sample
from delift_core.scoring.pair_spec import format_pairs
from delift_core.scoring.store import ScoringContext, read_context
from delift_core.selection.methods import METHODS, Method
from delift_core.selection.request import SelectionRequest
from delift_core.system.callbacks import OnProgress, Progress, Stop, never
from delift_core.system.texts import duration
from delift_core.workspace import RunRecord, Workspace
from delift_core.workspace.workspace import DATABASE_NAME

_DEVICES = ("cpu", "cuda", "mps")
_REPORT_SECONDS = 10.0
_FIXED_SETTINGS = {"clusters": 10, "easy_share": 0.5, "certainty": 0.2}  # kept, so that the keys on disk stay valid


def order_key(
    method: Method,
    seed: int,
    less: LessSettings,
    model: Sequence[str],
    pool: Sequence[Sample],
    target: Sequence[Sample],
) -> dict[str, object]:
    """The key of an order in a `ResultCache`.

    Args:
        less: settings of LESS; they are in the key of every method.
        model: revision, template and device type.
        pool: the rows to order, all of which fit the model.
    """
    rows, towards = ([sample.content_hash for sample in part] for part in (pool, target))
    order = {"method": method, "seed": seed, **_FIXED_SETTINGS, "less": asdict(less)}
    return {"order": order, "model": list(model), "rows": rows, "target": towards}


def evaluation_cache(workspace: Workspace) -> ResultCache:
    """The cache of a workspace's evaluations."""
    return ResultCache(workspace.evaluations_folder / "runs")


def kept_order(workspace: Workspace, problem: SelectionProblem, method: Method, *, seed: int = 0) -> np.ndarray | None:
    """(n,) int64, the cached order of the run's pool; None if there is none. No model is loaded."""
    run, less = problem.run, LessSettings()
    context = read_context(run.store.folder)
    if context is None:
        return None
    for device in _DEVICES:
        model = (context.revision, _template_key(context), device)
        cached = evaluation_cache(workspace).load(order_key(method, seed, less, model, run.pool, _target(problem)))
        if cached is not None and len(cached["order"]) == len(run.pool):
            return cached["order"]
    return None


def ask_the_model(
    workspace: Workspace,
    selector: Selector,
    request: SelectionRequest,
    *,
    publish: OnProgress = lambda progress: None,
    stop: Stop = never,
) -> None:
    """Gives a selector the order that a request needs of a method that asks the model; does nothing for the others.

    Raises:
        DeliftError: as `measured_order`.
    """
    if "model" not in request.needs:
        return
    problem, method = selector.problem(request.metric, request.config), request.method
    try:
        problem.order_of(method, seed=request.seed)
    except NotMeasured:
        order = measured_order(workspace, problem, method, seed=request.seed, publish=publish, stop=stop)
        problem.keep_order(method, order, request.seed)


def measured_order(
    workspace: Workspace,
    problem: SelectionProblem,
    method: Method,
    *,
    seed: int = 0,
    publish: OnProgress = lambda progress: None,
    stop: Stop = never,
) -> np.ndarray:
    """The cached order or, if there is none, one computed by this process once the device is free.

    Args:
        publish: called with the progress every few seconds.
        stop: asked before every forward pass.

    Raises:
        Stopped: `stop` answered True.
        ScoringError: the method does not support this model, or the model has changed since the run.
        DeliftError: the model cannot be loaded.
    """
    cached = kept_order(workspace, problem, method, seed=seed)
    if cached is not None:
        return cached
    spec = problem.run.record.spec
    ticket = Ticket(f"order by {method}", str(workspace.folder), time.time_ns())

    def waiting(message: str) -> None:
        publish(Progress("waiting", message=message))

    with wait_for_device(ticket, spec.device, on_wait=waiting, stop=stop):
        return _measure(workspace, problem, method, seed, publish, stop)


def _measure(
    workspace: Workspace,
    problem: SelectionProblem,
    method: Method,
    seed: int,
    publish: OnProgress,
    stop: Stop,
) -> np.ndarray:
    from delift_core.baselines.measure import EncodedRows, MeasuredPool
    from delift_core.jobs.preparation import encode_samples
    from delift_core.models.loading import load_model
    from delift_core.models.prompts import make_template
    from delift_core.scoring.scorer import Scorer

    run, target = problem.run, _target(problem)
    spec, entry = run.record.spec, METHODS[method]
    title = entry.title
    publish(Progress("loading", message=f"{title}: loading {spec.model}"))
    loaded = load_model(spec.model, device=spec.device, dtype="float32")
    if loaded.identity.revision != run.record.model_revision:
        raise ScoringError(f"{spec.model} has changed since run {run.record.id} was scored; score again")
    template = make_template(loaded.tokenizer, spec.template, spec.template_arguments)
    context = read_context(run.store.folder)
    if context is None or _template_key(context) != template.key:
        raise ScoringError(f"prompts are written differently since run {run.record.id} was scored; score again")
    conversations = {sample.content_hash: sample.conversation for sample in (*run.pool, *target)}
    encoded, refused = encode_samples(template, conversations, loaded.identity.context_length)
    if refused:
        raise ScoringError(f"{title}: {len(refused):,} rows of run {run.record.id} do not fit the model; score again")
    rows, towards = (EncodedRows(part, [encoded[one.content_hash] for one in part]) for part in (run.pool, target))
    scorer, less = Scorer(loaded, tokens_per_batch=FineTuning().batch_tokens), LessSettings()
    pool = MeasuredPool(scorer, template, rows, towards, less, _reporting(title, len(run.pool), publish, stop))
    order = entry.order(pool, seed)
    model = (loaded.identity.revision, template.key, loaded.device.type)
    evaluation_cache(workspace).save(order_key(method, seed, less, model, run.pool, target), {"order": order})
    return order


def _reporting(title: str, rows: int, publish: OnProgress, stop: Stop) -> Stop:
    """Wraps `stop`, which is asked before every forward pass, to publish the number of passes every few seconds."""
    began, passes, last_report = time.monotonic(), 0, 0.0

    def counting_stop() -> bool:
        nonlocal passes, last_report
        passes, now = passes + 1, time.monotonic() - began
        if now - last_report >= _REPORT_SECONDS:
            last_report = now
            message = f"{title}: {passes:,} passes over {rows:,} rows so far, {duration(now)}"
            publish(Progress("scoring", passes, message=message))
        return stop()

    return counting_stop


def _template_key(context: ScoringContext) -> str:
    """As `Template.key`, of the template that a run was scored with."""
    return template_key(context.template, context.template_version, context.template_arguments)


def _target(problem: SelectionProblem) -> tuple[Sample, ...]:
    return problem.run.target if problem.config.needed_set == "target" else ()


def utility_order(method: Method, manifest: Manifest, folder: Path) -> tuple[int, ...]:
    """Positions in the pool file by a method that needs utilities, best first; rows that were not scored are left out.

    Args:
        folder: the workspace that scored the pool; opened and closed here.

    Raises:
        DataError: the workspace has no finished run of this pool with this model.
        WorkspaceError: the workspace is open in another process.
    """
    if not (folder / DATABASE_NAME).exists():
        raise _no_run(method, folder)
    with Workspace.open(folder) as workspace:
        found = (record for record in workspace.runs.records() if _is_run_of(workspace, record, manifest))
        record = next(found, None)
        if record is None:
            raise _no_run(method, folder)
        run = open_run(workspace, record.id)
        return _order(method, run, manifest)


def _order(method: Method, run: ScoredRun, manifest: Manifest) -> tuple[int, ...]:
    utilities = run.utilities(manifest.metric).pool
    order = order_of_run(method, run, utilities, with_target=False)
    line_of = {row.id: at for at, row in enumerate(manifest.rows)}
    positions = np.array([line_of[sample.id] for sample in run.pool], dtype=np.int64)
    return tuple(positions[order].tolist())


def _is_run_of(workspace: Workspace, record: RunRecord, manifest: Manifest) -> bool:
    """Whether a finished run scored the manifest's pool with the same model, template, precision and pair budget."""
    same = record.context_key == manifest.model.context_key and format_pairs(record.spec.pairs) == manifest.model.pairs
    pool = workspace.datasets.record(record.spec.pool_id)
    return record.status == "done" and same and pool.content_hash == manifest.pool.content_hash


def _no_run(method: Method, folder: Path) -> DataError:
    return DataError(
        f"{method} needs the utilities of the selection, and the workspace {folder} holds no finished run of this "
        f"pool with this model; name the workspace that does with --workspace, or leave {method} out"
    )
