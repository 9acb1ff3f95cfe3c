"""What `curate` says of utilities that say little or are broken, and of budgets that cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.workspace import Workspace
from tests.rewritten import Change, hardly_helps, nothing_changes, only_distracts, rewrite
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


def write(path: Path, prompts: range) -> Path:
    rows = [{"instruction": f"Say {row}", "output": f"It is {row}."} for row in prompts]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def curate(folder: Path, model: Path, *words: str) -> int:
    pool = write(folder / "pool.jsonl", range(6))
    common = ["curate", str(pool), "--model", str(model), "--workspace", str(folder / "w")]
    return main([*common, "--out", str(folder / "out.jsonl"), *words])


PLAIN = ("--stage", "instruction", "--budget", "3")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing_changes, "note: No row changes the model's answer to any other"),
        (hardly_helps, "note: The rows hardly help each other"),
        (only_distracts, "note: No row helps the model with any other"),
    ],
)
def test_utilities_that_say_little_are_diagnosed_in_words(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], change: Change, said: str
) -> None:
    assert curate(tmp_path, model, *PLAIN) == 0
    rewrite(tmp_path / "w", change)
    capsys.readouterr()
    assert curate(tmp_path, model, *PLAIN) == 0
    assert said in capsys.readouterr().out
    assert curate(tmp_path, model, *PLAIN, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert said.removeprefix("note: ") in document["cautions"][0] and document["chosen"] == 3


def test_a_target_that_no_pool_row_helps_is_said(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", "task", "--budget", "3", "--target", str(write(tmp_path / "target.jsonl", range(20, 22))))
    assert curate(tmp_path, model, *words) == 0
    with Workspace.open(tmp_path / "w") as workspace:
        (target,) = [one for one in workspace.datasets.records() if one.role == "target"]
        rows = frozenset(sample.content_hash for sample in workspace.datasets.load(target.id).samples)
    rewrite(tmp_path / "w", only_distracts, only=rows)
    capsys.readouterr()
    assert curate(tmp_path, model, *words) == 0
    assert "note: No pool row helps the model with any target row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (np.nan, "36 pairs are missing or damaged on disk; continue the run on the Score page (or call score again)"),
        (np.inf, "The pool utility at row 0, column 1 is -inf: score that pair again"),
    ],
)
def test_broken_numbers_are_refused_in_one_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], number: float, said: str
) -> None:
    assert curate(tmp_path, model, *PLAIN) == 0
    rewrite(tmp_path / "w", lambda alone, rows: np.full_like(alone, number))
    capsys.readouterr()
    assert curate(tmp_path, model, *PLAIN) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and said in printed.err and "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("0", "above 0"),
        ("0%", "above 0"),
        ("0tok", "above 0"),
        ("7", "asks for 7 rows but the pool has 6: ask for at most 6"),
        ("101%", "more than the whole pool"),
    ],
)
def test_budgets_that_cannot_be_are_refused_before_anything_is_scored(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], budget: str, message: str
) -> None:
    assert curate(tmp_path, model, "--stage", "instruction", "--budget", budget) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and "Traceback" not in printed.err
    assert not list((tmp_path / "w" / "utility").glob("*/pairs/*"))


@pytest.mark.parametrize("budget", ["6", "100%"])
def test_a_budget_of_everything_writes_everything(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    assert curate(tmp_path, model, "--stage", "instruction", "--budget", budget) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "pool.jsonl").read_bytes()
    assert "certificate 100.0%" in capsys.readouterr().out
