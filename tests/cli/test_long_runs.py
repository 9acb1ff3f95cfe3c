"""A run of hours is started only where somebody asks for it: a question on a terminal, else a refusal."""

import io
import json
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.cli.job_progress import LongRunCheck
from delift_core.scoring import forecast as plan
from delift_core.scoring.forecast import Forecast
from tests.tiny_models import save_model

HOURS = Forecast(
    998_001,
    998_001,
    352_395.0,
    500.0,
    1 << 30,
    1 << 20,
    1 << 34,
    1 << 40,
    alone_tokens=90_000,
    budgeted_pair_tokens=150,
)
ROWS = 16


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.jsonl"
    rows = [
        {"instruction": f"Name bird {n}.", "output": f"Bird {n} is a wren." + " It sings." * n} for n in range(ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answered(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A terminal on which somebody types an answer."""
    monkeypatch.setattr("sys.stdin", Terminal(text))
    monkeypatch.setattr("sys.stderr", Terminal())


def test_a_smaller_run_costs_its_rows_alone_and_its_pairs() -> None:
    found = {one.pairs: round(one.seconds) for one in HOURS.smaller_runs(999)}
    assert found == {120_639: 36_372, 32_967: 10_070, 8_991: 2_877}
    assert [one.pairs for one in HOURS.smaller_runs(999)] == sorted(found, reverse=True)
    short = Forecast(25, 25, 4.0, 500.0, 1, 1, 1, 1, alone_tokens=2_000, budgeted_pair_tokens=150)
    assert short.smaller_runs(5) == ()  # none takes half as long


def test_without_a_terminal_a_long_run_is_refused_with_what_less_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    check = LongRunCheck((999, 0, 0))
    assert check.is_due(HOURS) and not check.is_due(HOURS)  # once
    check.ask(HOURS)
    assert "998,001 pairs take about 4 days" in check.refusal and "\n" not in check.refusal
    assert "--pairs 12% scores 120,639 in about 10 h" in check.refusal
    assert "--pairs k=8 scores 8,991 in about 48 min" in check.refusal and "--pairs all" in check.refusal


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_on_a_terminal_it_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool) -> None:
    answered(monkeypatch, answer)
    check = LongRunCheck((999, 0, 0))
    check.ask(HOURS)
    assert (check.refusal == "") == goes_on


def test_pairs_that_are_of_use_together_only_are_not_offered_in_part() -> None:
    check = LongRunCheck((999, 0, 0), needs_all=True)
    check.ask(HOURS)
    assert "k=8" not in check.refusal and "--pairs all" in check.refusal


@pytest.mark.slow
@pytest.mark.parametrize("command", ["score", "curate"])
def test_a_command_stops_keeps_what_it_scored_and_goes_on_when_it_is_asked_to(
    command: str,
    model: Path,
    pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("delift_core.jobs.progress.CALIBRATION_SECONDS", 0.0)  # the rate is known with the second batch
    monkeypatch.setattr(plan, "LONG_SECONDS", 0.0)
    rest = (
        ["--stage", "instruction", "--budget", "3", "--out", str(tmp_path / "out.jsonl")] if command == "curate" else []
    )
    words = [command, str(pool), "--model", str(model), "--workspace", str(tmp_path / "work"), "--json", *rest]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and not (tmp_path / "out.jsonl").exists()
    told = [line for line in err.splitlines() if line.startswith("delift: ")]
    assert len(told) == 1 and "pairs take about" in told[0] and "--pairs all" in told[0]

    assert main([*words, "--pairs", "all"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "r1"  # the same run, continued
