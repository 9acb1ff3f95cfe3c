"""`evaluate` as it is typed: bad held-out rows, a stop in the middle, and mean utility from the workspace."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import job_progress, main
from delift_core.cli.job_progress import StopRequest
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.selection.types import ObjectiveConfig
from delift_core.workspace import Workspace
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow


def write(path: Path, numbers: range) -> Path:
    rows = [{"instruction": f"Say {n}", "output": f"It is {n}" + " or so" * (n % 3)} for n in numbers]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 10 rows, scored in workspace "w", with the subset out.jsonl of it."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_model(folder / "tiny")
    where = ["--model", str(folder / "tiny"), "--workspace", str(folder / "w"), "--out", str(folder / "out.jsonl")]
    pool = str(write(folder / "pool.jsonl", range(10)))
    assert main(["curate", pool, "--stage", "instruction", "--budget", "3", *where]) == 0
    return folder


def evaluate(folder: Path, heldout: Path, *words: str) -> int:
    once = ["--seeds", "1", "--epochs", "1", "--device", "cpu"]
    return main(["evaluate", str(folder / "out.manifest.json"), "--heldout", str(heldout), *once, *words])


def test_mean_utility_comes_from_the_workspace_that_scored_the_pool(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heldout = write(folder / "new.jsonl", range(20, 24))
    monkeypatch.setenv("DELIFT_WORKSPACE", str(folder / "nowhere"))
    assert evaluate(folder, heldout, "--against", "column-mean") == 2
    told = capsys.readouterr().err
    assert "holds no finished run of this pool" in told and told.count("\n") == 1
    assert not (folder / "nowhere").exists()
    with Workspace.open(folder / "empty"):
        pass
    assert evaluate(folder, heldout, "--against", "column-mean", "--workspace", str(folder / "empty")) == 2
    capsys.readouterr()
    assert evaluate(folder, heldout, "--against", "column-mean", "--workspace", str(folder / "w"), "--json") == 0
    arm = json.loads(capsys.readouterr().out)["arms"][-1]
    with Workspace.open(folder / "w") as workspace:
        utilities = (
            Selector(open_run(workspace, "r1")).problem("euclidean", ObjectiveConfig("instruction")).utilities.pool
        )
    best = np.argsort(-np.nanmean(utilities, axis=0), kind="stable")[:3]
    assert (arm["name"], arm["positions"]) == ("column-mean", best.tolist())


def test_held_out_rows_that_the_pool_has_are_named_and_all_or_none_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(folder, write(folder / "some.jsonl", range(8, 14)), "--against", "") == 0
    out = capsys.readouterr().out
    for line in (1, 2):
        assert f"some.jsonl, row {line}: the same row is in the pool" in out
    (folder / "none.jsonl").write_text("")
    for heldout, words in (
        (write(folder / "all.jsonl", range(3)), "all 3 held-out rows are in the pool or the target (the first is all"),
        (folder / "none.jsonl", "none.jsonl is empty"),
        (folder / "gone.jsonl", "gone.jsonl"),
    ):
        assert evaluate(folder, heldout) == 2
        told = capsys.readouterr()
        assert words in told.err.splitlines()[-1] and not told.out


def test_a_stop_in_the_middle_keeps_whole_runs_and_goes_on_with_them(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(StopRequest):
        """Asks to stop once the first arms are measured."""

        def __call__(self) -> bool:
            return len(list((folder / "kept").glob("*.npz"))) >= 2

    @contextmanager
    def later() -> Iterator[StopRequest]:
        yield Later()

    heldout = write(folder / "new.jsonl", range(20, 24))
    keep = ["--keep", str(folder / "kept"), "--against", "random,full"]
    with monkeypatch.context() as patch:
        patch.setattr(job_progress, "stop_on_signal", later)
        assert evaluate(folder, heldout, *keep) == 130
    told = capsys.readouterr()
    assert "stopped" in told.err and not told.out
    left = {path.name for path in (folder / "kept").iterdir()}
    assert len(left) == 2 and all(name.endswith(".npz") for name in left)
    assert evaluate(folder, heldout, *keep) == 0
    assert left < {path.name for path in (folder / "kept").iterdir()}
