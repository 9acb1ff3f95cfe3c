"""`curate --method`, end to end: every published method chooses, is written down, and is made again."""

import json
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.errors import SelectionError
from delift_core.evaluation.subset_evaluation import arm_request
from delift_core.export.subset_files import export_selection
from delift_core.selection import methods
from delift_core.selection.coverage import value
from delift_core.selection.methods import METHODS, asks_model, method_title
from delift_core.selection.request import objective_of
from delift_core.workspace import Workspace
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    save_model(folder / "tiny")
    rows = [
        {"instruction": f"Say {row}", "output": f"It is {row}" + " or so" * (row % 4), "category": "ab"[row % 2]}
        for row in range(12)
    ]
    (folder / "pool.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    (folder / "target.jsonl").write_text(json.dumps({"instruction": "Say 99", "output": "It is 99"}) + "\n", "utf-8")
    return folder


def curate(folder: Path, out: str, *words: str) -> int:
    common = ["curate", str(folder / "pool.jsonl"), "--target", str(folder / "target.jsonl"), "--stage", "task"]
    place = ["--model", str(folder / "tiny"), "--workspace", str(folder / "w"), "--out", str(folder / out)]
    return main([*common, *place, *words])


def rerun(folder: Path, name: str, workspace: str = "w") -> int:
    again = ["rerun", str(folder / f"{name}.manifest.json"), "--out", str(folder / f"{name}-again.jsonl")]
    return main([*again, "--workspace", str(folder / workspace)])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_chooses_is_written_down_and_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    assert curate(folder, f"{method}.jsonl", "--budget", "4", "--method", method, "--seed", "5") == 0
    assert f"method {method_title(method)} (" in capsys.readouterr().out
    manifest = read_manifest(folder / f"{method}.manifest.json")
    assert manifest.method is not None and manifest.method.name == method and manifest.output.rows == 4
    assert manifest.engine is not None and "no share of the best" in manifest.engine.guarantee
    chosen = sorted((row for row in manifest.rows if row.rank), key=lambda row: row.rank or 0)
    assert all(f"by {method_title(method)}" in row.reason for row in chosen)
    left = [row for row in manifest.rows if row.rank is None]
    assert all(f"in the order of {method_title(method)}" in row.reason for row in left)
    with Workspace.open(folder / "w") as workspace:
        record = workspace.selections.load(manifest.selection_id)
        assert (record.selection.method, workspace.selections.records()[0].method) == (method, method)
        problem = Selector(open_run(workspace, record.run_id)).problem("euclidean", objective_of("default", "task"))
        assert record.selection.certificate.value == pytest.approx(value(problem.kernel, record.selection.chosen))
        if not asks_model(method):
            assert record.selection.greedy.order.tolist() == problem.order_of(method, seed=5).tolist()
    assert rerun(folder, method) == 0
    assert (folder / f"{method}-again.jsonl").read_bytes() == (folder / f"{method}.jsonl").read_bytes()
    assert read_manifest(folder / f"{method}-again.manifest.json").method == manifest.method


def test_what_asked_the_model_is_asked_again_where_nothing_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(folder, "asked.jsonl", "--budget", "50%", "--method", "ifd") == 0
    assert rerun(folder, "asked", "elsewhere") == 0
    told = capsys.readouterr()
    assert "Chosen rows: unchanged" in told.out and "IFD: loading" in told.err


def test_rows_that_were_given_are_taken_from_the_manifest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curate(folder, "first.jsonl", "--budget", "4") == 0
    with Workspace.open(folder / "w") as workspace:
        run_id = workspace.selections.records()[0].run_id
        selector = Selector(open_run(workspace, run_id))
        problem = selector.problem("euclidean", objective_of("default", "task"))
        given = selector.select(arm_request(problem, "random", [7, 2, 9]))
        kept = workspace.selections.add(run_id, given, name="drawn", metric="euclidean", seed=0)
        export_selection(workspace, kept.id, folder / "given.jsonl")
    assert [row.rank for row in read_manifest(folder / "given.manifest.json").rows if row.rank] == [2, 1, 3]
    assert rerun(folder, "given") == 0
    assert "Method: the rows were given" in capsys.readouterr().out


def test_a_manifest_with_a_method_that_does_not_exist_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(folder, "unknown.jsonl", "--budget", "4", "--method", "longest") == 0
    path = folder / "unknown.manifest.json"
    document = json.loads(path.read_text("utf-8"))
    document["method"]["name"] = "magic"
    path.write_text(json.dumps(document), "utf-8")
    capsys.readouterr()
    assert rerun(folder, "unknown") == 2
    told = capsys.readouterr().err
    assert "magic" in told and "longest, loss-high" in told and "Traceback" not in told


def test_budgets_in_tokens_and_quotas_are_filled_along_the_order(folder: Path) -> None:
    assert curate(folder, "tokens.jsonl", "--budget", "120tok", "--method", "loss-high") == 0
    manifest = read_manifest(folder / "tokens.manifest.json")
    ranks = [row.greedy_rank for row in sorted((r for r in manifest.rows if r.rank), key=lambda row: row.rank or 0)]
    assert ranks == sorted(ranks) and ranks[0] == 1
    assert curate(folder, "quota.jsonl", "--budget", "5", "--method", "longest", "--quota", "Category:a=4..") == 0
    manifest = read_manifest(folder / "quota.manifest.json")
    assert [row.group for row in manifest.rows if row.rank].count("a") == 4
    assert rerun(folder, "quota") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "magic"), "invalid choice: 'magic'"),
        (("--method", "rds", "--engine", "sparse"), "leave out the engine, or the method"),
        (("--preset", "published", "--metric", "pmi"), "leave them out, or --preset"),
        (("--preset", "published", "--pairs", "50%"), "leave out --pairs"),
    ],
)
def test_what_cannot_be_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert curate(folder, "none.jsonl", "--budget", "4", *words) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_orders_by_the_run_are_those_of_its_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert curate(folder, "numbers.jsonl", "--budget", "4") == 0
    with Workspace.open(folder / "w") as workspace:
        run_id = workspace.selections.records()[0].run_id
        problem = Selector(open_run(workspace, run_id)).problem("euclidean", objective_of("default", "task"))
        tokens, embeddings = problem.run.response_tokens(), problem.run.embeddings()
        assert problem.order_of("longest").tolist() == np.argsort(-tokens, kind="stable").tolist()
        unit = embeddings / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
        assert problem.order_of("rds")[0] == int(np.argmax(unit[:12] @ unit[12]))  # the one target row's nearest
        utilities = problem.utilities.pool.copy()
        assert problem.order_of("column-mean")[0] == int(np.nanmean(utilities, axis=0).argmax())
        with pytest.raises(SelectionError, match="IFD asks the model about every row"):
            problem.order_of("ifd")
        monkeypatch.setattr(methods, "PAIRWISE_ROWS", 11)
        with pytest.raises(SelectionError, match="k-center compares each of 12 rows"):
            problem.order_of("k-center")
        assert len(problem.order_of("rds")) == 12  # with a target it compares with the target's rows only


def test_the_published_settings_are_written_down_and_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(folder, "published.jsonl", "--budget", "4", "--preset", "published") == 0
    assert "preset published: Euclidean utility scaled" in capsys.readouterr().out
    manifest = read_manifest(folder / "published.manifest.json")
    assert (manifest.objective, manifest.metric) == (objective_of("published", "task"), "euclidean")
    with Workspace.open(folder / "w") as workspace:
        summary = workspace.selections.records()[0]
        assert summary.config == workspace.selections.load(summary.id).selection.config == manifest.objective
    assert rerun(folder, "published") == 0
    assert read_manifest(folder / "published-again.manifest.json").objective == manifest.objective
