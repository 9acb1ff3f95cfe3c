"""The workspace's log: one line for each thing, whole, bounded, without secrets, from several processes."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.errors import NotAllowed
from delift_core.system import logs
from delift_core.system.access import Actor
from delift_core.system.logs import begin_log, log_event, log_failure, newest_lines
from delift_core.workspace import Workspace


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    """No handler of a test's workspace outlives it."""
    yield
    logger = logging.getLogger("delift_core")
    for handler in [one for one in logger.handlers if isinstance(one, logs._WorkspaceLog)]:
        logger.removeHandler(handler)


def test_a_line_says_when_who_and_which_job(tmp_path: Path) -> None:
    begin_log(tmp_path, "worker", job="r7")
    log_event("scoring ended", pairs=12, state="done")
    (line,) = newest_lines(tmp_path, 5)
    assert line.items() >= {"level": "INFO", "process": "worker", "job": "r7", "event": "scoring ended"}.items()
    assert line["pairs"] == 12 and str(line["time"]).endswith("+00:00")
    text = (tmp_path / "logs" / "delift.jsonl").read_text()
    assert text.count("\n") == 1 and json.loads(text) == line


def test_strangers_words_and_tokens_stay_inert(tmp_path: Path) -> None:
    begin_log(tmp_path, "server")
    try:
        raise ValueError("\x1b[31mred\n\u202e hf_abcdefghijklmnop " + "x" * 100_000)
    except ValueError as error:
        log_failure("page failed", error)
    data = (tmp_path / "logs" / "delift.jsonl").read_bytes()
    assert data.count(b"\n") == 1 and b"\x1b" not in data and data.isascii() and len(data) < 20_000
    assert b"abcdefghijklmnop" not in data and b"page failed" in data and b"test_logs.py" in data


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST_FILE", 2000)
    begin_log(tmp_path, "server")
    for number in range(200):
        log_event("tick", number=number)
    files = [path for path in (tmp_path / "logs").iterdir() if path.suffix == ".jsonl"]
    assert len(files) == 1 + logs.KEPT_FILES and all(path.stat().st_size <= 2000 for path in files)
    assert [line["number"] for line in newest_lines(tmp_path, 3)] == [197, 198, 199]


WRITER = """
import sys
from pathlib import Path
from delift_core.system.logs import begin_log, log_event
begin_log(Path(sys.argv[1]), "worker", job=sys.argv[2])
for number in range(100):
    log_event("tick", number=number, padding="x" * 50)
"""


def test_lines_of_several_processes_never_mix_and_none_is_lost(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"r{n}"]) for n in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / "logs" / "delift.jsonl").read_text().splitlines()]
    assert sorted((line["job"], line["number"]) for line in lines) == sorted(
        (f"r{n}", number) for n in range(2) for number in range(100)
    )


def test_what_cannot_be_logged_stops_nothing(tmp_path: Path) -> None:
    begin_log(tmp_path / "nowhere", "server")
    log_event("unheard")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "logs").write_text("a file where the folder should be")
    begin_log(tmp_path, "server")
    log_event("unheard")


def test_a_command_and_a_refusal_leave_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "work"
    with Workspace.open(folder) as workspace:
        begin_log(folder, "server")
        with pytest.raises(NotAllowed):
            workspace.acting_as(Actor("eve@x.org", "viewer")).settings.set("key", "value")
    assert main(["gc", "--workspace", str(folder)]) == 0
    assert main(["export", "s9", "--out", str(tmp_path / "o.jsonl"), "--workspace", str(folder)]) == 2
    lines = newest_lines(folder, 20)
    assert [line["event"] for line in lines] == [
        *("refused", "command began", "command ended", "command began", "command refused")
    ]
    assert lines[0].items() >= {"actor": "eve@x.org", "operation": "upkeep", "process": "server"}.items()
    assert lines[2].items() >= {"command": "gc", "code": 0, "process": "command"}.items()
    assert "s9" in str(lines[4]["reason"])
    assert capsys.readouterr().err.count("\n") == 1
