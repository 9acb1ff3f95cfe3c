"""An evaluation in the background: what its folder holds beside the files of every job.

    request.json   what to evaluate, with all rows      cost.json   the result of mode "forecast"
    report.json    the result of mode "evaluate"        adapter/    LoRA layers, if they are to be saved

Finished runs are kept in a folder that all evaluations of a workspace share, so that an evaluation that was cancelled
or killed resumes where it was. The database is not opened here.
"""

from dataclasses import dataclass
from typing import Literal

from delift_core.evaluation.cost import Cost, ResultCache, forecast
from delift_core.evaluation.evaluation_request import EvaluationRequest
from delift_core.evaluation.report import EvaluationReport
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.system.callbacks import Stop
from delift_core.system.codec import decode
from delift_core.system.memory import ensure_libraries_fit

Mode = Literal["forecast", "evaluate"]


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """The content of request.json."""

    mode: Mode
    save_adapter: bool
    request: EvaluationRequest


def prepare_job(job: JobFolder, content: EvaluationJob) -> None:
    """Writes what a worker needs; an earlier request and its report are replaced.

    Raises:
        ScoringError: a worker is at the earlier request, or the folder cannot be written to.
    """
    job.prepare(content, replaces=("report.json",))


def request_of(job: JobFolder) -> EvaluationJob:
    """What the folder asks for."""
    return decode(EvaluationJob, job.read("request.json"))


def cost_of(job: JobFolder) -> Cost | None:
    """What the evaluation will take, once that was measured."""
    if (job.folder / "cost.json").exists():
        return decode(Cost, job.read("cost.json"))
    old = job.read("status.json") if (job.folder / "status.json").exists() else {}  # of earlier versions
    return decode(Cost, old["cost"]) if old.get("cost") else None


def report_of(job: JobFolder) -> EvaluationReport | None:
    """The report, once the evaluation is done."""
    exists = (job.folder / "report.json").exists()
    return decode(EvaluationReport, job.read("report.json")) if exists else None


def work(job: JobFolder, stop: Stop) -> None:
    """Waits for the device and does what the folder asks for.

    Raises:
        DeliftError: as `evaluate`.
    """
    ensure_libraries_fit()
    from delift_core.evaluation.evaluate import check_request

    content = request_of(job)
    check_request(content.request)
    with job.wait_for_device(content.request.device, stop):
        if content.mode == "forecast":
            _estimate(job, content.request, stop)
        else:
            _evaluate(job, content, stop)


def _estimate(job: JobFolder, request: EvaluationRequest, stop: Stop) -> None:
    from delift_core.evaluation.evaluate import load_tuner

    job.write_progress(JobProgress("calibrating", message=f"loading {request.model}"))
    tuner, _ = load_tuner(request, stop=stop, cache=_cache(job))
    job.write("cost.json", forecast(tuner))
    job.write_progress(JobProgress("forecast"))


def _evaluate(job: JobFolder, content: EvaluationJob, stop: Stop) -> None:
    from delift_core.evaluation.evaluate import evaluate

    adapter = job.folder / "adapter"
    save = content.save_adapter and not adapter.exists()  # else written before this evaluation was interrupted
    report = evaluate(
        content.request, publish=job.write_progress, stop=stop, cache=_cache(job), adapter=adapter if save else None
    )
    job.write("report.json", report.as_json())
    job.write_progress(JobProgress("done", 1, 1, report.conclusion()))


def _cache(job: JobFolder) -> ResultCache:
    return ResultCache(job.folder.parent / "runs")
