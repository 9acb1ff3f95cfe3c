"""What happened, as JSON lines in WORKSPACE/logs/delift.jsonl: the server, its workers and every command write there.

    {"time": "2026-11-26T12:00:00.000+00:00", "level": "INFO", "process": "worker", "pid": 7, "job": "r1", "event": …}

Each line is one write by one process at a time, so that lines of several processes never mix. The file is put aside
at a bounded size, and only so many of those are kept. Logging never stops the work: what cannot be written is lost.
"""

import fcntl
import json
import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

ProcessKind = Literal["server", "worker", "command"]

FOLDER = "logs"
FILE = "delift.jsonl"
LARGEST_FILE = 1 << 20
KEPT_FILES = 3
_LONGEST_TEXT = 4000
_ROOT = "delift_core"
# Tokens of the hub: none is ever logged on purpose; an error's text may quote one.
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")
logging.getLogger(_ROOT).addHandler(logging.NullHandler())  # without a workspace's log, nothing is said anywhere


def begin_log(workspace: Path, process: ProcessKind, *, job: str = "") -> None:
    """From now on this process writes to the workspace's log; called again, to that of another workspace.

    Args:
        workspace: its folder; nothing is written while it does not exist.
        job: which every line of a worker is about.
    """
    logger = logging.getLogger(_ROOT)
    for handler in [one for one in logger.handlers if isinstance(one, _WorkspaceLog)]:
        logger.removeHandler(handler)
    logger.addHandler(_WorkspaceLog(workspace, process, job))
    logger.setLevel(logging.INFO)


def log_event(event: str, *, job: str = "", level: int = logging.INFO, **facts: str | int | float | bool) -> None:
    """Writes one line.

    Args:
        event: what happened, in a few fixed words.
        job: the run or evaluation that it is about.
        facts: names and values of interest; never a secret, never a row's text.
    """
    logging.getLogger(_ROOT).log(level, event, extra={"job": job, "facts": facts})


def log_failure(event: str, error: BaseException, *, job: str = "") -> None:
    """Writes one line about an error that nobody expected, with where it came from."""
    where = "".join(traceback.format_exception(error))
    log_event(event, job=job, level=logging.ERROR, error=f"{type(error).__name__}: {error}", traceback=where)


def last_lines(workspace: Path, count: int) -> tuple[Mapping[str, object], ...]:
    """The newest lines, oldest of them first; a line that was cut short by a crash is passed over."""
    path = workspace / FOLDER / FILE
    found: list[Mapping[str, object]] = []
    for name in (path, _aside(path, 1)):
        try:
            lines = name.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            if len(found) == count:
                break
            with suppress(ValueError):
                found.append(json.loads(line))
    return tuple(reversed(found))


class _WorkspaceLog(logging.Handler):
    """Appends to the file, and puts it aside when it is large."""

    def __init__(self, workspace: Path, process: ProcessKind, job: str) -> None:
        super().__init__()
        self._workspace, self._process, self._job = workspace, process, job

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, or, where that cannot be, nothing."""
        with suppress(OSError, ValueError):
            if not self._workspace.is_dir():
                return
            path = self._workspace / FOLDER / FILE
            path.parent.mkdir(exist_ok=True)
            line = self._line(record)
            with _alone(path.parent):
                _put_aside_if_large(path, len(line))
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line)
                finally:
                    os.close(handle)

    def _line(self, record: logging.LogRecord) -> bytes:
        facts: Mapping[str, object] = getattr(record, "facts", {})
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process or os.getpid(),
            "job": getattr(record, "job", "") or self._job,
            "event": _clean(record.getMessage()),
        }
        document |= {name: _clean(value) if isinstance(value, str) else value for name, value in facts.items()}
        return json.dumps(document).encode() + b"\n"  # ASCII: nothing in a line can move a terminal's cursor


def _clean(text: str) -> str:
    short = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT // 2]} … {text[-_LONGEST_TEXT // 2 :]}"
    return _TOKEN.sub("hf_…", short)


def _put_aside_if_large(path: Path, more: int) -> None:
    if not path.exists() or path.stat().st_size + more <= LARGEST_FILE:
        return
    for number in range(KEPT_FILES, 0, -1):
        older = path if number == 1 else _aside(path, number - 1)
        if older.exists():
            older.replace(_aside(path, number))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two must not put the file aside at once."""
    handle = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
