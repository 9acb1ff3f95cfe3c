"""An evaluation in the background: its folder, and its worker process,
`python -m delift_core.evaluation.background FOLDER`.

    request.json     what to evaluate, with all rows      status.json   the latest status
    report.json      the report, once it is done          adapter/      LoRA layers, if they are to be saved

Files are replaced atomically. Finished runs are kept in a folder that all evaluations of a workspace share, so that an
evaluation that was cancelled or killed resumes where it was. The database is not opened here.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from delift_core.errors import ScoringError, Stopped
from delift_core.evaluation.cost import Cost, forecast
from delift_core.evaluation.evaluation_request import EvaluationRequest
from delift_core.evaluation.report import EvaluationReport
from delift_core.evaluation.result_cache import ResultCache
from delift_core.jobs.folder import WorkerFolder
from delift_core.jobs.queue import wait_for_device
from delift_core.jobs.worker import run_worker
from delift_core.system.callbacks import Stop
from delift_core.system.codec import decode
from delift_core.system.logs import log_event
from delift_core.system.memory import ensure_libraries_fit

Mode = Literal["forecast", "evaluate"]
State = Literal[
    "starting", "waiting", "measuring", "evaluating", "estimated", "done", "cancelled", "failed", "interrupted"
]
_FINAL_STATES: frozenset[State] = frozenset({"estimated", "done", "cancelled", "failed", "interrupted"})


@dataclass(frozen=True, slots=True)
class EvaluationStatus:
    """The state of an evaluation.

    Attributes:
        message: what the worker is doing, or why the evaluation failed.
        share: share of the fine-tuning steps that are done, in [0, 1].
        cost: the result of mode "forecast".
    """

    state: State
    message: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    cost: Cost | None = None

    @property
    def active(self) -> bool:
        """Whether the evaluation is going on."""
        return self.state not in _FINAL_STATES


@dataclass(frozen=True, slots=True)
class _Job:
    """The content of request.json."""

    mode: Mode
    save_adapter: bool
    request: EvaluationRequest


class EvaluationFolder(WorkerFolder):
    """The folder of an evaluation; its name is the evaluation's id."""

    worker_module = "delift_core.evaluation.background"
    active_message = "this evaluation is running already; wait for it, or cancel it first"

    def prepare(self, request: EvaluationRequest, mode: Mode, *, save_adapter: bool) -> None:
        """Writes what a worker needs; an earlier request and its report are replaced.

        Raises:
            ScoringError: a worker is at the earlier request, or the folder cannot be written to.
        """
        with self._writing():
            self._clear("report.json")
            self._write("request.json", json.dumps(asdict(_Job(mode, save_adapter, request))))
            self.write_status(EvaluationStatus("starting"))

    def request(self) -> tuple[EvaluationRequest, Mode, bool]:
        """The request, its mode, and whether to save the LoRA layers."""
        job = decode(_Job, self._read("request.json"))
        return job.request, job.mode, job.save_adapter

    def status(self) -> EvaluationStatus:
        """The state; "interrupted" when the worker died before the evaluation ended."""
        alive = self.alive  # read first: a worker that ends in between has written its final status by then
        try:
            status = decode(EvaluationStatus, self._read("status.json"))
        except FileNotFoundError:
            return EvaluationStatus("interrupted")
        return status if alive or not status.active else replace(status, state="interrupted")

    def write_status(self, status: EvaluationStatus) -> None:
        """Replaces the status."""
        self._write("status.json", json.dumps(asdict(status)))

    def fail(self, reason: str) -> None:
        """Records that the evaluation failed."""
        self.write_status(EvaluationStatus("failed", reason))

    def report(self) -> EvaluationReport | None:
        """The report, once the evaluation is done."""
        exists = (self.folder / "report.json").exists()
        return decode(EvaluationReport, self._read("report.json")) if exists else None

    def write_report(self, report: EvaluationReport) -> None:
        """Stores the report."""
        self._write("report.json", json.dumps(report.as_json()))

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


def run_evaluation(job: EvaluationFolder, stop: Stop) -> None:
    """Waits for the device and does what the folder asks for, until it is done or `stop` answers True.

    Raises:
        DeliftError: as `evaluate`; a stop raises nothing.
    """
    ensure_libraries_fit()
    from delift_core.evaluation.evaluate import check_request

    request, mode, save_adapter = job.request()
    check_request(request)

    def on_wait(message: str) -> None:
        job.write_status(EvaluationStatus("waiting", message))

    with wait_for_device(job.ticket(), request.device, on_wait=on_wait, stop=stop) as free:
        if free:
            _run(job, request, mode, save_adapter, stop)
        else:
            job.write_status(EvaluationStatus("cancelled"))


def _run(job: EvaluationFolder, request: EvaluationRequest, mode: Mode, save_adapter: bool, stop: Stop) -> None:
    from delift_core.evaluation.evaluate import evaluate, load_tuner

    status = EvaluationStatus("measuring" if mode == "forecast" else "evaluating", f"loading {request.model}")
    job.write_status(status)
    cache, adapter = ResultCache(job.folder.parent / "runs"), job.folder / "adapter" if save_adapter else None

    def update(**changes: Any) -> None:
        nonlocal status
        status = replace(status, **changes)
        job.write_status(status)

    try:
        if mode == "forecast":
            tuner, _ = load_tuner(request, stop=stop, cache=cache)
            update(state="estimated", message="", cost=forecast(tuner))
            return
        if adapter is not None and adapter.exists():
            adapter = None  # written before this evaluation was interrupted
        report = evaluate(
            request,
            publish=lambda line: update(message=line),
            advance=lambda share, left: update(share=share, seconds_left=left),
            stop=stop,
            cache=cache,
            adapter=adapter,
        )
    except ScoringError as error:
        if not (isinstance(error, Stopped) or stop()):
            raise
        update(state="cancelled", message=str(error), seconds_left=None)
        return
    job.write_report(report)
    update(state="done", message=report.conclusion(), share=1.0, seconds_left=None)


def main(folder: Path) -> int:
    """Runs the evaluation in a folder, and returns the exit code."""
    job = EvaluationFolder(folder)

    def work(stop: Stop) -> None:
        log_event("evaluation began")
        run_evaluation(job, stop)
        log_event("evaluation ended", state=job.status().state)

    return run_worker(job, "evaluation", work)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
