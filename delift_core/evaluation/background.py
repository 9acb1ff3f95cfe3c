"""An evaluation in the background: its folder, and what the worker in it does.

    request.json     what to evaluate, rows and all      status.json   the worker's last word
    report.json      what was found, once it is done     adapter/      LoRA layers, where they were asked for

Files are always whole. Runs are kept in a folder that all evaluations of a workspace share, so that one that was
cancelled or cut off goes on where it was. The database is not opened here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from delift_core.baselines.settings import LessSettings
from delift_core.errors import ScoringError
from delift_core.evaluation.cost import Cost, forecast
from delift_core.evaluation.evaluation_request import EvaluationRequest, EvaluationStopped, FineTuning, Other
from delift_core.evaluation.finished_runs import FolderKeeper
from delift_core.evaluation.report import EvaluationReport, report_from_json
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.queue import Ticket, turn
from delift_core.models.lora import LoraSettings
from delift_core.samples import Message, Sample
from delift_core.system.defaults import LIBRARY_ENVIRONMENT
from delift_core.system.files import write_whole

Mode = Literal["forecast", "evaluate"]
State = Literal[
    "starting", "waiting", "measuring", "evaluating", "estimated", "done", "cancelled", "failed", "interrupted"
]
_ENDS: frozenset[State] = frozenset({"estimated", "done", "cancelled", "failed", "interrupted"})


@dataclass(frozen=True, slots=True)
class EvaluationStatus:
    """Where an evaluation stands.

    Attributes:
        message: the last thing it said, or why it failed.
        share: of the fine-tuning steps that are done, in [0, 1].
        cost: measured by "forecast".
    """

    state: State
    message: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    cost: Cost | None = None

    @property
    def active(self) -> bool:
        """Whether work is going on."""
        return self.state not in _ENDS


class EvaluationFolder:
    """Reads and writes one evaluation's folder; its name is the evaluation's id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = JobFolder(folder)  # for the worker's process and the wish to stop

    def prepare(self, request: EvaluationRequest, mode: Mode, *, save_adapter: bool) -> None:
        """Writes what a worker needs; an earlier request and its report are replaced.

        Raises:
            ScoringError: a worker is at the earlier request.
        """
        if self.status().active:
            raise ScoringError("this evaluation is going on already; wait for it, or cancel it first")
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_behind in ("cancel", "worker.json", "report.json"):
            (self.folder / left_behind).unlink(missing_ok=True)
        document = {"mode": mode, "save_adapter": save_adapter, "request": asdict(request)}
        self._write("request.json", json.dumps(document))
        self.write_status(EvaluationStatus("starting"))

    def start(self) -> None:
        """Starts a worker process that outlives this one; its output goes to worker.log."""
        package_parent = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # this Python, this package
                [sys.executable, "-m", "delift_core.evaluation.background_worker", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(os.environ, **LIBRARY_ENVIRONMENT, PYTHONPATH=path),
                start_new_session=True,
            )
        self.claim(process.pid)

    def claim(self, pid: int) -> None:
        """Notes which process works on it."""
        self._process.claim(pid)

    def ticket(self) -> Ticket:
        """Its place in the line of jobs."""
        return self._process.ticket()

    def cancel(self) -> None:
        """Asks the worker to stop; it does so within a step, and keeps every finished run."""
        self._process.cancel()

    def cancel_requested(self) -> bool:
        """Whether somebody asked the worker to stop."""
        return self._process.cancel_requested()

    def status(self) -> EvaluationStatus:
        """Where it stands; "interrupted" when its worker died before the end."""
        alive = self._process.status().alive
        try:
            fields = json.loads((self.folder / "status.json").read_text())
        except FileNotFoundError:
            return EvaluationStatus("interrupted")
        cost = fields.pop("cost")
        status = EvaluationStatus(**fields, cost=Cost(**cost) if cost else None)
        return status if alive or not status.active else replace(status, state="interrupted")

    def write_status(self, status: EvaluationStatus) -> None:
        """Replaces the worker's last word."""
        self._write("status.json", json.dumps(asdict(status)))

    def request(self) -> tuple[EvaluationRequest, Mode, bool]:
        """What to do, how far, and whether the adapter is to be saved."""
        document = json.loads((self.folder / "request.json").read_text())
        return _request_from_json(document["request"]), document["mode"], document["save_adapter"]

    def report(self) -> EvaluationReport | None:
        """What was found, once it is done."""
        path = self.folder / "report.json"
        return report_from_json(json.loads(path.read_text())) if path.exists() else None

    def write_report(self, report: EvaluationReport) -> None:
        """Keeps what was found."""
        self._write("report.json", json.dumps(report.as_json()))

    def _write(self, name: str, text: str) -> None:
        write_whole(self.folder / name, text.encode("utf-8"))


def carry_out(job: EvaluationFolder, stop: Callable[[], bool]) -> None:
    """Does what the folder asks for, at its turn, to the end or until `stop` answers True.

    Raises:
        DeliftError: as `evaluate`, but for a stop, which is an end like another.
    """
    from delift_core.evaluation.evaluate import check_request

    request, mode, save_adapter = job.request()
    check_request(request)
    with turn(job.ticket(), request.device, waiting=lambda words: _wait(job, words), stop=stop) as mine:
        if not mine:
            job.write_status(EvaluationStatus("cancelled"))
            return
        _carry_out(job, request, mode, save_adapter, stop)


def _wait(job: EvaluationFolder, words: str) -> None:
    job.write_status(EvaluationStatus("waiting", words))


def _carry_out(
    job: EvaluationFolder, request: EvaluationRequest, mode: Mode, save_adapter: bool, stop: Callable[[], bool]
) -> None:
    from delift_core.evaluation.evaluate import evaluate, ready_bench

    status = EvaluationStatus("measuring" if mode == "forecast" else "evaluating", f"loading {request.model}")
    job.write_status(status)
    keeper, adapter = FolderKeeper(job.folder.parent / "runs"), job.folder / "adapter" if save_adapter else None

    def say(**changes: Any) -> None:
        nonlocal status
        status = replace(status, **changes)
        job.write_status(status)

    try:
        if mode == "forecast":
            bench, _ = ready_bench(request, stop=stop, keeper=keeper)
            say(state="estimated", message="", cost=forecast(bench))
            return
        if adapter is not None and adapter.exists():
            adapter = None  # an earlier round of this very evaluation wrote it
        report = evaluate(
            request,
            publish=lambda line: say(message=line),
            advance=lambda share, left: say(share=share, seconds_left=left),
            stop=stop,
            keeper=keeper,
            adapter=adapter,
        )
    except ScoringError as error:
        if not (isinstance(error, EvaluationStopped) or stop()):
            raise
        say(state="cancelled", message=str(error), seconds_left=None)
        return
    job.write_report(report)
    say(state="done", message=report.conclusion(), share=1.0, seconds_left=None)


def _request_from_json(fields: dict[str, Any]) -> EvaluationRequest:
    tuning, less = dict(fields["tuning"]), dict(fields["less"])
    made: dict[str, Any] = {
        "subset_positions": tuple(fields["subset_positions"]),
        "against": tuple(fields["against"]),
        "others": tuple(Other(other["name"], tuple(other["positions"])) for other in fields["others"]),
        "tuning": FineTuning(**(tuning | {"lora": _lora_from_json(tuning["lora"])})),
        "less": LessSettings(**(less | {"lora": _lora_from_json(less["lora"])})),
    }
    for name in ("pool", "heldout", "target"):
        made[name] = tuple(_sample_from_json(sample) for sample in fields[name])
    return EvaluationRequest(**(fields | made))


def _lora_from_json(fields: dict[str, Any]) -> LoraSettings:
    return LoraSettings(**(fields | {"layers": tuple(fields["layers"])}))


def _sample_from_json(fields: dict[str, Any]) -> Sample:
    messages = tuple(Message(message["role"], message["content"]) for message in fields["messages"])
    return Sample(**(fields | {"messages": messages}))
