"""Evaluations in the background: a real worker process, its folder, cancel, resume, and failures in one line."""

import itertools
import json
import subprocess
from pathlib import Path

import psutil
import pytest

from delift_core.errors import ScoringError
from delift_core.evaluation.background import EvaluationJob, Mode, cost_of, prepare_job, report_of, request_of
from delift_core.evaluation.cost import Cost, forecast
from delift_core.evaluation.evaluate import evaluate, load_tuner
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning
from delift_core.evaluation.fine_tuner import FineTuner
from delift_core.evaluation.report import EvaluationReport
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.worker import main
from delift_core.system.codec import decode
from tests.evaluation.test_evaluate import HELDOUT, POOL, SUBSET, changed

QUICK = FineTuning(epochs=1, learning_rate=3e-3, rows_per_step=4)


@pytest.fixture
def request_(model: str) -> EvaluationRequest:
    return EvaluationRequest(
        POOL, SUBSET, HELDOUT, model=model, device="cpu", tuning=QUICK, seeds=2, others=(ExtraArm("mine", (1, 2)),)
    )


def prepared(
    folder: Path, request: EvaluationRequest, mode: Mode = "evaluate", *, save_adapter: bool = False
) -> JobFolder:
    job = JobFolder(folder / "s1.x", "evaluation")
    prepare_job(job, EvaluationJob(mode, save_adapter, request))
    return job


def await_end(job: JobFolder) -> None:
    """Until the worker process is gone."""
    psutil.Process(json.loads((job.folder / "worker.json").read_text())["pid"]).wait(timeout=120)


def test_a_request_survives_its_file(request_: EvaluationRequest, tmp_path: Path) -> None:
    job = prepared(tmp_path, request_)
    assert request_of(job) == EvaluationJob("evaluate", False, request_)


@pytest.mark.slow
def test_a_worker_process_evaluates_to_the_same_numbers(request_: EvaluationRequest, tmp_path: Path) -> None:
    job = prepared(tmp_path, request_)
    job.start()
    await_end(job)
    assert job.status().state == "done", (job.folder / "worker.log").read_text()
    report, here = report_of(job), evaluate(request_)
    assert report is not None
    assert [arm.name for arm in report.arms] == [arm.name for arm in here.arms]
    for there, arm in zip(report.arms, here.arms, strict=True):
        # Another process: where a gradient is mere rounding so is AdamW's step, and the loss hardly depends on it.
        assert there.runs == pytest.approx(arm.runs, rel=1e-4)
        gaps = [(gap.value, gap.low, gap.high) if gap else (0, 0, 0) for gap in (there.gap, arm.gap)]
        assert gaps[0] == pytest.approx(gaps[1], abs=2e-4 * max(arm.runs))
    assert job.status().progress.message == report.conclusion()
    assert decode(EvaluationReport, json.loads(json.dumps(here.as_json()))) == here


@pytest.mark.slow
def test_a_cancel_in_the_middle_leaves_nothing_half_written_and_goes_on(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    lora = changed(request_, tuning=FineTuning(epochs=1, rows_per_step=2, weights="lora"))
    job = prepared(tmp_path, lora, save_adapter=True)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3  # in the subset's first run

    job.run(stop)
    assert job.status().state == "cancelled"
    assert report_of(job) is None
    names = {path.name for path in job.folder.iterdir()}
    assert names == {"request.json", "progress.json"}
    job.run(lambda: False)
    assert job.status().state == "done"
    assert job.status().progress.share == 1.0
    assert (job.folder / "adapter" / "adapter_model.safetensors").exists()
    runs = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    job.run(lambda: False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()} == runs


def test_failures_are_one_line_and_a_dead_worker_is_interrupted(
    request_: EvaluationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared(tmp_path / "evaluations", changed(request_, model=str(tmp_path)))
    monkeypatch.setattr("os.nice", lambda by: by)  # the worker's own main, in this process
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    assert main(job) == 2
    assert job.status().state == "failed"
    assert "safetensors weights" in job.status().progress.message
    assert "\n" not in job.status().progress.message
    gone = subprocess.Popen(["sleep", "60"])
    job.claim(gone.pid)
    gone.kill()
    gone.wait()
    job.write_progress(JobProgress("evaluating", 2, 5))
    assert job.status().state == "interrupted"


def test_the_forecast_is_measured_and_counts_all_runs(request_: EvaluationRequest, tmp_path: Path) -> None:
    job = prepared(tmp_path, request_, "forecast")
    job.run(lambda: False)
    cost = cost_of(job)
    assert job.status().state == "forecast"
    assert cost is not None
    assert cost.runs == 2 + 2 + 1 + 1  # the subset, random, full, mine
    assert cost.seconds > 0
    assert not (tmp_path / "runs").exists()
    more = changed(request_, against=("random", "full", "selectit", "less"), examples=2, generate=2)
    ticks = iter(range(1000))
    tuner: FineTuner = load_tuner(more, stop=lambda: False)[0]
    dear = forecast(tuner, clock=lambda: float(next(ticks)))
    ticks = iter(range(1000))
    cheap = forecast(load_tuner(request_, stop=lambda: False)[0], clock=lambda: float(next(ticks)))
    assert dear.seconds > cheap.seconds
    assert dear.trained_tokens > cheap.trained_tokens


def test_a_forecast_counts_what_each_method_needs(request_: EvaluationRequest) -> None:
    seconds = {}
    for method in ("bm25", "k-center", "ifd", "selectit", "less"):
        tuner = load_tuner(changed(request_, against=(method,)), stop=lambda: False)[0]
        seconds[method] = forecast(tuner, clock=itertools.count().__next__).seconds
    assert seconds["bm25"] < seconds["k-center"] == seconds["ifd"] < seconds["selectit"]
    assert seconds["bm25"] < seconds["less"]


def test_an_evaluation_that_goes_on_is_not_started_again(
    request_: EvaluationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path, request_)
    monkeypatch.setattr(JobFolder, "status", lambda self: JobStatus(JobProgress("evaluating"), alive=True))
    with pytest.raises(ScoringError, match="the evaluation of s1 is running already"):
        prepared(tmp_path, request_)


def test_an_evaluation_of_an_earlier_version_shows_its_estimate_and_its_report(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    job = JobFolder(tmp_path / "evaluations" / "s1.x", "evaluation")
    job.folder.mkdir(parents=True)
    status = {"state": "estimated", "message": "", "share": 0.0, "seconds_left": None}
    cost = {"seconds": 12.5, "runs": 3, "trained_tokens": 100}
    job.write("status.json", status | {"cost": cost})
    assert (job.status().state, cost_of(job)) == ("forecast", Cost(12.5, 3, 100))
    job.write("status.json", status | {"state": "evaluating", "share": 0.4, "cost": None})
    assert (job.status().state, job.status().active, cost_of(job)) == ("interrupted", False, None)
    job.write("status.json", status | {"state": "done", "share": 1.0, "message": "better", "cost": None})
    assert (job.status().state, job.status().progress.message) == ("done", "better")
    prepared(tmp_path / "evaluations", request_)  # continued by this version
    assert job.status().progress.phase == "starting"
