"""The log of a workspace: JSON lines in WORKSPACE/logs/delift.jsonl, from the server, its workers and every command.

    {"time": "2026-11-26T12:00:00.000+00:00", "level": "INFO", "process": "worker", "pid": 7, "job": "r1", "event": …}

Several processes write to the file, one line at a time under a lock, and rotate it at `LARGEST_FILE` bytes.
(`logging.handlers.RotatingFileHandler` is for one process: it goes on writing to a file that another one has rotated.
Made safe for several, by a lock and by closing the file after each line, it takes more code than the rotation here.)
A line that cannot be written is lost: logging never stops the work.
"""

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
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")  # an access token of the hub, which an error's text may quote
logging.getLogger(_ROOT).addHandler(logging.NullHandler())  # without a workspace, nothing is logged


def begin_log(workspace: Path, process: ProcessKind, *, job: str = "") -> None:
    """Directs this process's log to a workspace, in place of an earlier one.

    Args:
        workspace: its folder; nothing is written while it does not exist.
        job: the job of a worker, which is added to every line.
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
        job: id of the run or evaluation concerned.
        facts: further keys of the line; never a secret, never a row's text.
    """
    logging.getLogger(_ROOT).log(level, event, extra={"job": job, "facts": facts})


def log_failure(event: str, error: BaseException) -> None:
    """Writes one line about an unexpected error, with its traceback."""
    trace = "".join(traceback.format_exception(error))
    log_event(event, level=logging.ERROR, error=f"{type(error).__name__}: {error}", traceback=trace)


def newest_lines(workspace: Path, count: int) -> tuple[Mapping[str, object], ...]:
    """The newest lines, in the order in which they were written; a line that a crash cut short is skipped."""
    path = workspace / FOLDER / FILE
    found: list[Mapping[str, object]] = []
    for name in (path, _rotated(path, 1)):
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
    """Appends to the workspace's log file, and rotates it."""

    def __init__(self, workspace: Path, process: ProcessKind, job: str) -> None:
        super().__init__()
        self._workspace, self._process, self._job = workspace, process, job

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, or nothing if that fails."""
        with suppress(OSError, ValueError):
            if not self._workspace.is_dir():
                return
            path = self._workspace / FOLDER / FILE
            path.parent.mkdir(exist_ok=True)
            line = self._line(record)
            with _locked(path.parent):
                _rotate_if_large(path, len(line))
                with open(path, "ab", opener=_private) as stream:
                    stream.write(line)

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
        return json.dumps(document).encode() + b"\n"  # ASCII only: no escape sequence reaches a terminal


def _clean(text: str) -> str:
    short = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT // 2]} … {text[-_LONGEST_TEXT // 2 :]}"
    return _TOKEN.sub("hf_…", short)


def _rotate_if_large(path: Path, more: int) -> None:
    if not path.exists() or path.stat().st_size + more <= LARGEST_FILE:
        return
    for number in range(KEPT_FILES, 0, -1):
        newer = path if number == 1 else _rotated(path, number - 1)
        if newer.exists():
            newer.replace(_rotated(path, number))


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the log's lock: two processes must not rotate the file at once."""
    from filelock import FileLock  # most commands write no line before they do their work

    with FileLock(folder / ".lock", mode=0o600, poll_interval=0.01):
        yield
