"""The Python API: rows in, a subset out, from whatever holds the rows."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

import delift_core as delift
from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.errors import DataError, ExportError, ModelError, ScoringError, SelectionError, Stopped, WorkspaceError
from delift_core.jobs import scoring_job
from delift_core.selection.request import is_installed
from delift_core.selection.select import guarantee
from delift_core.selection.types import ObjectiveConfig
from delift_core.system.callbacks import Progress
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
EMPTY, LONG = 3, 6  # the row without a response, which is no sample, and the one that does not fit the model
SCORED = [row for row in range(12) if row not in (EMPTY, LONG)]


def rows() -> list[dict[str, Any]]:
    made = [
        {"instruction": f"Say {n}", "output": f"It is {n}{' or so' * (n % 4)}", "topic": "ab"[n % 2], "number": n}
        for n in range(12)
    ]
    made[EMPTY]["output"], made[LONG]["output"] = "", "la " * 400
    return made


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def scored(model: Path, work: Path) -> delift.ScoredPool:
    target = [{"instruction": "Say 99", "output": "It is 99"}]
    return delift.score(rows(), target=target, model=model, device="cpu", workspace=work)


KINDS: dict[str, Callable[[Path], Any]] = {
    "dicts": lambda folder: rows(),
    "datasets": lambda folder: datasets.Dataset.from_list(rows()),
    "pandas": lambda folder: pd.DataFrame(rows(), index=range(100, 112)),
    "file": lambda folder: write(folder / "pool.jsonl", rows()),
    "name of a file": lambda folder: str(write(folder / "pool.jsonl", rows())),
    "loaded": lambda folder: delift.load(rows()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_samples_and_subsets_whatever_holds_them(
    tmp_path: Path, model: Path, work: Path, scored: delift.ScoredPool, kind: str
) -> None:
    source = KINDS[kind](tmp_path)
    loaded, expected = delift.load(source), delift.load(rows())
    assert [(s.id, s.messages, s.line) for s in loaded.samples] == [
        (s.id, s.messages, s.line) for s in expected.samples
    ]
    assert [problem.line for problem in loaded.problems] == [EMPTY + 1]
    pool = delift.score(source, model=model, device="cpu", workspace=work)
    assert pool.indices.tolist() == SCORED
    assert [sample.line - 1 for sample in pool.left_out] == [LONG]
    np.testing.assert_array_equal(pool.utilities, scored.utilities)
    subset = delift.select(pool, budget=4, keep=[8], drop=[1])
    chosen = subset.indices.tolist()
    assert chosen == delift.select(scored, budget=4, keep=[8], drop=[1]).indices.tolist()
    assert 8 in chosen and 1 not in chosen
    made = subset.to_dataset()
    assert made.column_names == ["instruction", "output", "topic", "number"] and made.to_list() == [
        rows()[row] for row in chosen
    ]


def test_cells_of_a_table_are_plain_values() -> None:
    chats = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]] * 2
    table = pd.DataFrame({"messages": [np.array(chat) for chat in chats], "score": [np.float32(0.5), np.nan]})
    assert [json.loads(sample.raw) for sample in delift.load(table).samples] == [
        {"messages": chats[0], "score": 0.5},
        {"messages": chats[1], "score": None},
    ]
    calls = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "tool_calls": None}]
    assert delift.load(datasets.Dataset.from_list([{"messages": calls}])).samples[0].response == "Hello"


def test_files_of_a_folder_count_one_after_the_other(tmp_path: Path, model: Path, work: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    write(folder / "b.jsonl", rows()[5:])
    write(folder / "a.jsonl", rows()[:5])
    assert delift.score(folder, model=model, device="cpu", workspace=work).indices.tolist() == SCORED


def test_row_i_of_the_utilities_is_helped_and_column_j_helps(scored: delift.ScoredPool) -> None:
    run, n = scored.run, len(scored)
    assert scored.utilities.shape == (n, n) == (len(SCORED),) * 2 and scored.utilities.dtype == np.float32
    assert np.isnan(np.diag(scored.utilities)).all() and np.isfinite(scored.utilities).sum() == n * n - n
    helped, helper = run.pool[2].content_hash, run.pool[5].content_hash
    assert scored.utilities[2, 5] == run.store.utility_matrix([helped], [helper], "euclidean")[0, 0]
    assert scored.utilities[2, 5] != scored.utilities[5, 2]
    assert scored.embeddings.shape == (n, 64)


def test_nothing_is_scored_twice(model: Path, work: Path, scored: delift.ScoredPool, monkeypatch: Any) -> None:
    monkeypatch.setattr(scoring_job, "ready_backend", None)  # nothing may call it
    states: list[str] = []
    again = delift.score(
        rows(), model=str(model), device="cpu", workspace=str(work), progress=lambda now: states.append(now.phase)
    )
    assert len(again) == len(scored) and states[-1] == "done"
    with delift.Workspace.open(work) as opened:
        assert len(delift.score(rows(), model=model, device="cpu", workspace=opened)) == len(scored)
        assert opened.datasets.records("pool")  # still open


def test_a_run_can_be_stopped_and_goes_on(tmp_path: Path, model: Path) -> None:
    stopped = delift.ScoringOptions(stop=lambda: True)
    with pytest.raises(Stopped, match="score again to go on"):
        delift.score(rows(), model=model, device="cpu", workspace=tmp_path, options=stopped)
    assert len(delift.score(rows(), model=model, device="cpu", workspace=tmp_path)) == len(SCORED)


def test_without_a_workspace_scores_last_as_long_as_the_result(model: Path) -> None:
    pool = delift.score(rows()[:3], model=model, device="cpu")
    subset = delift.select(pool, budget=2)
    folder = pool.workspace
    assert isinstance(folder, Path) and folder.exists()
    del pool
    assert folder.exists() and len(subset.with_budget(1)) == 1
    del subset
    assert not folder.exists()


def test_another_budget_is_cut_from_the_order_that_is_kept(scored: delift.ScoredPool, monkeypatch: Any) -> None:
    requests: list[dict[str, Any]] = [
        {},
        {"stage": "task"},
        {"keep": [7], "drop": [0, 2]},
        {"quotas": ["Topic:a=..3"]},
        {"method": "longest"},
        {"method": "ifd", "seed": 2},
        *([{"engine": "submodlib"}] if is_installed("submodlib") else []),
    ]
    before = [delift.select(scored, budget=5, progress=lambda now: None, **request) for request in requests]
    computed = ("greedy_order", "order_around", "order_within", "arrange_order", "random_curves", "represented_kernel")
    for name in computed:
        monkeypatch.setattr(f"delift_core.curation.selector.{name}", None)
    monkeypatch.setattr("delift_core.evaluation.method_orders.measured_order", None)
    for request, subset in zip(requests, before, strict=True):
        if request.get("method") is None:
            smaller = delift.select(scored, budget="30%", **request)
            assert smaller.indices.tolist() == subset.with_budget("30%").indices.tolist()
            assert smaller.indices.tolist() == subset.indices.tolist()[:3]
    longer = before[0].with_budget("60tok")
    assert longer.selection.budget.unit == "tokens" and before[0].with_budget(2).certificate > 0


def test_what_is_asked_for_is_what_is_chosen(scored: delift.ScoredPool) -> None:
    task = delift.select(scored, budget=4, stage="task", quotas=["topic:b=3.."], seed=3)
    assert [rows()[row]["topic"] for row in task.indices].count("b") >= 3
    assert task.problem.config.stage == "task" and task.request.seed == 3 and task.gains.shape == (4,)
    longest = delift.select(scored, budget=2, method="longest")
    assert "no share of the best" in guarantee(longest.selection)
    weights = ObjectiveConfig("task", eta=0.0)
    assert delift.select(scored, budget=4, stage=weights).problem.config == weights
    plain = delift.select(scored, budget=4)
    assert 0 < plain.certificate <= 1 and plain.gains.tolist() == sorted(plain.gains.tolist(), reverse=True)
    first = int(plain.indices[0])
    assert plain.explain(first).startswith("Chosen 1st") and re.search(r"\brow \d+", plain.explain(first))
    out = next(row for row in SCORED if row not in plain.indices)
    assert "Left out" in plain.explain(out)
    named = {int(row) for row in re.findall(r"\brow (\d+)", plain.explain(out))}
    assert named <= set(SCORED)


def test_the_command_line_chooses_the_same_rows_bit_for_bit(tmp_path: Path, model: Path, work: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", rows())
    words = ["curate", pool, "--stage", "instruction", "--budget", "40%", "--model", model, "--device", "cpu"]
    assert main([*map(str, words), "--workspace", str(work), "--out", str(tmp_path / "cli.jsonl")]) == 0
    subset = delift.select(delift.score(pool, model=model, device="cpu", workspace=work), budget="40%")
    assert subset.export(tmp_path / "api.jsonl", name="by hand") == tmp_path / "api.jsonl"
    assert (tmp_path / "api.jsonl").read_bytes() == (tmp_path / "cli.jsonl").read_bytes()
    one, other = (read_manifest(tmp_path / f"{name}.manifest.json") for name in ("cli", "api"))
    assert (one.rows, one.result, one.inputs, one.model) == (other.rows, other.result, other.inputs, other.model)
    assert other.selection_name == "by hand"
    manifest = str(tmp_path / "api.manifest.json")
    assert main(["verify", manifest]) == 0
    again = tmp_path / "again.jsonl"
    assert main(["rerun", manifest, "--out", str(again), "--workspace", str(tmp_path / "new")]) == 0
    assert again.read_bytes() == (tmp_path / "api.jsonl").read_bytes()


def test_rows_in_memory_are_exported_and_verified_too(tmp_path: Path, model: Path) -> None:
    pool = delift.score(rows()[:6], model=model, device="cpu")
    delift.select(pool, budget=3).export(tmp_path / "out.csv", format="alpaca")
    assert main(["verify", str(tmp_path / "out.csv.manifest.json")]) == 0
    manifest = read_manifest(tmp_path / "out.csv.manifest.json")
    assert manifest.pool.origin == "rows in memory" and manifest.output.format == "alpaca"


def test_a_subset_and_its_manifest_are_evaluated_alike(
    tmp_path: Path, scored: delift.ScoredPool, monkeypatch: Any
) -> None:
    heldout = [{"instruction": f"Tell {n}", "output": f"It is {n}"} for n in range(9)]
    options = delift.EvaluationOptions(tuning=delift.FineTuning(epochs=1), device="cpu", cache=tmp_path / "kept")
    told: list[str] = []

    def tell(progress: Progress) -> None:
        told.append(progress.message)

    subset = delift.select(scored, budget=4)
    report = delift.evaluate(
        subset,
        heldout,
        against=("random", "column-mean"),
        seeds=1,
        progress=tell,
        options=options,
    )
    assert [arm.name for arm in report.arms] == ["untouched", "subset", "random", "column-mean"]
    assert told[0].startswith("loading ") and not any(line.startswith("note") for line in told)
    table = report.table()
    assert table.index.tolist() == [arm.name for arm in report.arms] and table.loc["subset", "rows"] == 4
    assert table.loc["random", "loss"] == report.arms[2].loss.value and np.isnan(table.loc["subset", "gap"])
    assert report.conclusion() in str(report) and "<table" in report._repr_html_()
    pool = write(tmp_path / "pool.jsonl", rows())
    work = scored.workspace
    assert isinstance(work, Path)
    filed = delift.select(
        delift.score(pool, model=scored.run.record.spec.model, device="cpu", workspace=work), budget=4
    )
    filed.export(tmp_path / "out.jsonl")
    again = delift.evaluate(
        tmp_path / "out.manifest.json",
        heldout,
        against="random",
        seeds=1,
        progress=tell,
        options=options,
    )
    assert again.arms[1].loss == report.arms[1].loss


def test_what_is_shown_is_short_and_safe(model: Path, work: Path) -> None:
    odd = [{"instruction": f"<b>{n}</b> " * 60, "output": f"<i>{n}</i>"} for n in range(12)]
    pool = delift.score(odd, model=model, device="cpu", workspace=work)
    assert repr(pool) == f"ScoredPool(rows: 12 rows, 144 pairs, model {model})"
    assert "12 rows" in pool._repr_html_() and "<b>" not in pool._repr_html_()
    subset = delift.select(pool, budget=11)
    shown = subset._repr_html_()
    assert repr(subset) == f"Subset(11 of 12 rows, at least {subset.certificate:.0%} of the best possible)"
    assert shown.count("<tr>") == 11 and "and 1 more" in shown and "&lt;i&gt;" in shown
    assert "<i>" not in shown and "…" in shown and len(shown) < 5000


@pytest.mark.parametrize("place", ["pipe", "terminal", "notebook"])
def test_progress_is_drawn_where_somebody_sees_it(
    tmp_path: Path, model: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    if place == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: place == "terminal", raising=False)
    delift.score(rows()[:3], model=model, device="cpu", workspace=tmp_path)
    drawn = capsys.readouterr().err
    assert ("loading the model" in drawn and "pair" in drawn) == (place != "pipe")


def bad(scored: delift.ScoredPool, model: Path) -> dict[str, tuple[Callable[[], object], type[Exception], str]]:
    pool, subset = rows(), delift.select(scored, budget=2)
    several = datasets.DatasetDict({"train": datasets.Dataset.from_list(pool)})
    loop: dict[str, Any] = {"instruction": "a", "output": "b"}
    loop["self"] = loop

    def score(**changed: Any) -> Callable[[], object]:
        return lambda: delift.score(**({"pool": pool, "model": model} | changed))

    def select(**changed: Any) -> Callable[[], object]:
        return lambda: delift.select(scored, **({"budget": 2} | changed))

    return {
        "no rows": (lambda: delift.load(None), DataError, "type NoneType cannot be read"),
        "a number": (lambda: delift.load(3), DataError, "type int cannot be read"),
        "a dict": (lambda: delift.load({"instruction": "a"}), DataError, "type dict cannot be read"),
        "several splits": (lambda: delift.load(several), DataError, "give one of them"),
        "rows of text": (lambda: delift.load(["a"]), DataError, "row 0 is of type str"),
        "a row in itself": (lambda: delift.load([pool[0], loop]), DataError, "row 1 cannot be written as JSON"),
        "an empty list": (lambda: delift.load([]), DataError, "holds no records"),
        "no known columns": (lambda: delift.load([{"a": 1}]), DataError, "columns found: a"),
        "no file": (lambda: delift.load("none.jsonl"), DataError, "none.jsonl does not exist"),
        "no hub name": (lambda: delift.load("hub:a/b,limit=0"), DataError, "write hub:owner/name"),
        "a bad target": (score(target=4), DataError, "type int"),
        "a bad model": (score(model="./nowhere"), ModelError, "does not exist"),
        "bad pairs": (score(pairs="some"), ScoringError, "pairs 'some' are not understood"),
        "a bad metric": (score(metric="cosine"), ScoringError, "no metric 'cosine'; use one of euclidean"),
        "a bad device": (score(device="tpu"), ScoringError, "no device 'tpu'"),
        "a bad workspace": (score(workspace=3), WorkspaceError, "int is no workspace"),
        "a bad budget": (select(budget="many"), SelectionError, "Budget 'many' is not understood"),
        "a share": (select(budget=0.3), SelectionError, "not a whole number"),
        "no budget": (select(budget=None), SelectionError, "Budget 'None' is not understood"),
        "too large a budget": (select(budget=99), SelectionError, "asks for 99 rows but the pool has 10"),
        "a bad stage": (select(stage="garden"), SelectionError, "no stage 'garden': use one of instruction"),
        "a stage without its set": (select(stage="continual"), SelectionError, "existing"),
        "a bad method": (select(method="magic"), SelectionError, "no method 'magic': use one of delift, random"),
        "a bad engine": (select(engine="steam"), SelectionError, "Engine 'steam' is not known"),
        "a bad quota": (select(quotas="x"), SelectionError, "Quota 'x' is not understood"),
        "no such column": (select(quotas=["colour:red=1.."]), SelectionError, "no column 'colour'"),
        "no such row": (select(keep=[99]), SelectionError, "row 99 is not among the scored rows"),
        "a row left out": (select(drop=[LONG]), SelectionError, f"row {LONG} is not among the scored rows"),
        "a row twice": (select(keep=[1], drop=[1]), SelectionError, "both kept and dropped"),
        "a reason for nothing": (lambda: subset.explain(EMPTY), SelectionError, "is not among the scored rows"),
        "a bad format": (lambda: subset.export("o.jsonl", format="xml"), ExportError, "no format 'xml'"),
        "no folder": (lambda: subset.export("/no/such/o.jsonl"), ExportError, "does not exist"),
        "a bad arm": (
            lambda: delift.evaluate(subset, [{"instruction": "a", "output": "b"}], against="astrology"),
            DataError,
            "no arm 'astrology'",
        ),
        "no manifest": (lambda: delift.evaluate("none.json", pool), ExportError, "none.json"),
    }


def test_mistakes_are_one_line(scored: delift.ScoredPool, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (call, kind, words) in bad(scored, model).items():
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, delift.DeliftError)
        assert words in str(caught.value) and "\n" not in str(caught.value), name


def test_the_package_gives_its_names_and_no_others() -> None:
    for name in delift.__all__:
        assert getattr(delift, name) is not None
    assert set(dir(delift)) == set(delift.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        delift.magic  # noqa: B018


def test_the_notebook_of_the_docs_runs(tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    text = (ROOT / "docs" / "notebook.py").read_text("utf-8")
    assert len(text.splitlines()) <= 15 and text.count('"bundled"') == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    exec(compile(text.replace('"bundled"', repr(str(model))), "notebook.py", "exec"), {})
    assert len((tmp_path / "subset.jsonl").read_text("utf-8").splitlines()) == 6
