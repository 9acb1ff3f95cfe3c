"""Windows and macOS, as far as they can be imitated here: no module of POSIX alone, paths with rules of their own,
files that are in use, and a GPU without float64."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import duckdb
import numpy as np
import psutil
import pytest
import torch
from torch.overrides import TorchFunctionMode

from delift_core.baselines.measure import losses_and_embeddings
from delift_core.errors import ModelError, WorkspaceError
from delift_core.evaluation.measures import measure, query_embeddings, without_examples
from delift_core.evaluation.training import FineTuning, fine_tuned
from delift_core.maintenance.backup import backup
from delift_core.models.loading import load_model
from delift_core.models.model_files import check_model
from delift_core.models.prompts import make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring import scorer as scoring
from delift_core.scoring.scorer import Scorer
from delift_core.system import files, processes
from delift_core.system.files import (
    is_same_file,
    replace_file,
    safe_stem,
    sync_folder,
    why_invalid_path,
    why_unwritable,
)
from delift_core.workspace import Workspace
from delift_core.workspace.database import _cannot_open
from tests.export.scored import alpaca_lines, clock, scored

ROOT = Path(__file__).parents[2]

# Every import of such a module by the core itself fails, as on Windows; other packages have their own ways there.
WITHOUT_POSIX = """
import builtins, sys
POSIX = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog", "curses"}
real, refused = builtins.__import__, []

def imported(name, globals=None, locals=None, fromlist=(), level=0):
    if name in POSIX and globals and str(globals.get("__name__")).startswith(("delift_core", "pages")):
        refused.append(name)
        raise ImportError(name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = imported
import pkgutil, importlib
import delift_core
for module in pkgutil.walk_packages(delift_core.__path__, "delift_core."):
    if not module.name.startswith("delift_core.jobs.ray"):
        importlib.import_module(module.name)
from delift_core.cli import main
code = main(sys.argv[1:])
assert not refused, refused
sys.exit(code)
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our own code believes; Python and its packages go on as they are."""
    system = SimpleNamespace(platform="win32", argv=sys.argv)
    monkeypatch.setattr(files, "sys", system)
    monkeypatch.setattr(processes, "sys", system)


@pytest.mark.slow
def test_the_main_road_needs_no_module_of_posix(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "work", clock=clock) as workspace:
        made = scored(workspace, tmp_path / "pool.jsonl", alpaca_lines(6), budget="2")
    words = ["export", made.selection_id, "--out", tmp_path / "out.jsonl", "--workspace", tmp_path / "work"]
    command = [sys.executable, "-c", WITHOUT_POSIX, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 2
    assert "export" in (tmp_path / "work" / "logs" / "delift.jsonl").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nul.jsonl", "nul.jsonl is a device on Windows"),
        ("folder/COM1", "COM1 is a device on Windows"),
        ("Aux.manifest.json", "is a device on Windows"),
        ("what?.jsonl", "holds '?', which no file of Windows can"),
        ("a:b.jsonl", "holds ':'"),
        ("rows .jsonl./x", "ends with a full stop or a space"),
        ("x" * 256, "has 256 characters and may have 255"),
        ("file/x.jsonl", "leads through a file"),
    ],
)
def test_names_that_windows_does_not_have_are_refused_there(
    tmp_path: Path, windows: None, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert message in why_invalid_path(Path(name)) and message in why_unwritable(Path(name))
    assert why_invalid_path(Path("console.jsonl")) == why_invalid_path(Path("../com10.jsonl")) == ""


@pytest.mark.parametrize("name", ["NUL", "con", "Aux", "COM1", "lpt9", "...", "\\", "C:\\"])
def test_no_export_is_named_like_a_device(name: str) -> None:
    assert safe_stem(name) in ("subset", "c")


def test_paths_with_backslashes_keep_to_one_folder_and_are_no_hub_ids(tmp_path: Path) -> None:
    assert safe_stem("..\\..\\windows\\system32") == "windows-system32"
    with pytest.raises(ModelError, match="the folder .* does not exist"):
        check_model("C:\\models\\mine", ask_hub=False)


def test_another_spelling_of_an_input_is_not_overwritten_where_case_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool.jsonl").touch()

    def samefile(one: Path, other: Path) -> bool:
        return str(one).casefold() == str(other).casefold()

    assert why_unwritable(tmp_path / "POOL.jsonl", (), [tmp_path / "pool.jsonl"]) == ""
    monkeypatch.setattr(Path, "samefile", samefile)
    assert "would overwrite the input" in why_unwritable(tmp_path / "POOL.jsonl", (), [tmp_path / "pool.jsonl"])
    Workspace.open(tmp_path / "work").close()
    (tmp_path / "WORK").mkdir()
    with pytest.raises(WorkspaceError, match="inside the workspace"):
        backup(tmp_path / "work", tmp_path / "WORK" / "copy.tar")


def test_two_names_of_one_file_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    os.link(tmp_path / "one", tmp_path / "other")
    assert is_same_file(tmp_path / "one", tmp_path / "other")
    assert not is_same_file(tmp_path / "one", tmp_path / "none") and is_same_file(tmp_path / "x", tmp_path / "x")


def test_a_file_that_is_being_read_is_replaced_a_moment_later(
    tmp_path: Path, windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real = Path.replace

    def replace(new: Path, path: Path) -> Path:
        if len(waits) < readers:
            raise PermissionError(13, "Access is denied", str(path))
        return real(new, path)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=waits.append))
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    readers = 3
    replace_file(tmp_path / "new", tmp_path / "old")
    assert len(waits) == 3 and sum(waits) < 0.1 and (tmp_path / "old").read_text() == "new"
    readers = 1000
    (tmp_path / "new").write_text("newer")
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "new", tmp_path / "old")
    assert sum(waits) < 3
    sync_folder(tmp_path / "no such folder")  # folders are not opened there


def test_a_file_without_the_right_to_replace_it_is_not_tried_again_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def replace(new: Path, path: Path) -> Path:
        tried.append(path)
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "new", tmp_path / "old")
    assert len(tried) == 1


def test_a_worker_leaves_the_terminal_and_steps_back(windows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    monkeypatch.setattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 0x4000, raising=False)
    monkeypatch.setattr(psutil.Process, "nice", lambda self, value: asked.append(value))
    assert processes.detached() == {"creationflags": 0x08000200}
    processes.lower_priority(5)
    assert asked == [0x4000]


def test_a_workspace_that_is_open_elsewhere_is_in_use_in_the_words_of_windows(tmp_path: Path) -> None:
    words = (
        'IO Error: Cannot open file "c:\\work\\delift.duckdb": The process cannot access the file because it is being '
        f"used by another process.\n\nFile is already open in\nC:\\Python\\python.exe (PID {os.getpid()})"
    )
    said = _cannot_open(tmp_path / "delift.duckdb", duckdb.IOException(words))
    assert f"is in use by another process (pid {os.getpid()}" in said


def test_memory_is_read_where_there_are_no_limits_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from delift_core.system import memory

    monkeypatch.delattr(psutil.Process, "rlimit")
    assert 0 < memory.available_memory() <= memory.total_memory()


class NoDoublesOnDevice(TorchFunctionMode):
    """Refuses float64 for a tensor until it was brought to the CPU; here every tensor lies there, so it counts calls.

    Apple's GPU has no float64: making one there raises an error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.brought: WeakSet[torch.Tensor] = WeakSet()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls += 1
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        name = getattr(func, "__name__", "")
        if name == "numpy":
            return found
        is_brought = name == "cpu" or any(id(one) in {id(kept) for kept in self.brought} for one in tensors)
        if isinstance(found, torch.Tensor):
            if is_brought:
                self.brought.add(found)
            elif found.dtype == torch.float64:
                raise TypeError(f"{name}: Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_nothing_on_the_road_of_apples_gpu_is_float64(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scoring._SUMS, "cpu", scoring._SUMS["mps"])
    loaded = load_model(str(model_folder), device="cpu", dtype="float32")
    scorer, template = Scorer(loaded), make_template(loaded.tokenizer)
    conversations = [
        Conversation((Message("user", f"What is {number}?"), Message("assistant", f"{number}."))) for number in range(4)
    ]
    encoded = [template.encode(one) for one in conversations]
    rows = without_examples(encoded)
    with NoDoublesOnDevice() as device:
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(1).double()
        prefix = scorer.prefill(template.head.alone)
        for batch in scorer.make_batches(rows):
            assert scorer.score(prefix, batch).dtype == torch.float32
        assert scorer.token_log_p(prefix, rows[0]).dtype == np.float64
        assert measure(scorer, rows).shape == (2, 4)
        assert losses_and_embeddings(scorer, encoded)[0].shape == (4,)
        assert query_embeddings(scorer, encoded).shape[0] == 4
        with fine_tuned(loaded, encoded, FineTuning(epochs=1), seed=0) as log:
            assert log.losses
    assert device.calls > 100
