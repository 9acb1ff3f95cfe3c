"""`curate --engine`, end to end: what it prints, writes down, and makes again."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.curation.curate import open_selection, reoptimise
from delift_core.curation.manifest import read_manifest
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.errors import SelectionError
from delift_core.export.subset_files import export_selection
from delift_core.selection.greedy import greedy_order
from delift_core.selection.request import SelectionRequest, is_installed, objective_of, parse_budget
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig
from delift_core.workspace import Workspace
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    save_model(folder / "tiny")
    rows = [{"instruction": f"Say {row}", "output": f"It is {row}."} for row in range(12)]
    (folder / "pool.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return folder


def curate(folder: Path, out: str, *words: str) -> int:
    common = ["curate", str(folder / "pool.jsonl"), "--stage", "instruction", "--model", str(folder / "tiny")]
    return main([*common, "--workspace", str(folder / "w"), "--out", str(folder / out), *words])


@pytest.mark.usefixtures("submodlib")
def test_an_engine_is_said_written_down_and_made_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curate(folder, "submodlib.jsonl", "--budget", "4", "--engine", "submodlib", "--seed", "5") == 0
    printed = capsys.readouterr().out
    assert "engine submodlib: at least 63.2% of the best selection" in printed and "certificate" in printed
    manifest = read_manifest(folder / "submodlib.manifest.json")
    assert manifest.engine is not None and (manifest.engine.name, manifest.output.rows) == ("submodlib", 4)
    assert manifest.engine.guarantee in printed and manifest.result.certificate > 0
    with Workspace.open(folder / "w") as workspace:
        assert workspace.selections.load(manifest.selection_id).selection.engine == "submodlib"
    again = ["rerun", str(folder / "submodlib.manifest.json"), "--out", str(folder / "submodlib-again.jsonl")]
    assert main([*again, "--workspace", str(folder / "w")]) == 0
    assert (folder / "submodlib-again.jsonl").read_bytes() == (folder / "submodlib.jsonl").read_bytes()
    assert read_manifest(folder / "submodlib-again.manifest.json").engine == manifest.engine


def test_without_the_option_nothing_is_said_and_the_guarantee_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(folder, "plain.jsonl", "--budget", "4", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["engine"] == {"name": "auto", "guarantee": "at least 63.2% of the best selection (1 - 1/e)"}


NO_QUOTAS = (["--budget", "4", "--engine", "submodlib", "--quota", "source:pool.jsonl=1.."], "does not support quotas")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *([NO_QUOTAS] if is_installed("submodlib") else []),
        (["--budget", "4", "--engine", "magic"], "is not known: use one of auto"),
        (["--budget", "4", "--engine", "stochastic:0.2"], "no engine 'stochastic:0.2' any more: run this with version"),
        (["--budget", "4", "--engine", "partitioned"], "no engine 'partitioned' any more: run this with version 0.1.0"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert curate(folder, "refused.jsonl", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and printed.err.count("\n") == 1


def test_an_engine_that_is_not_installed_is_refused_in_one_line_where_it_is_used(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submodlib", None)
    assert curate(folder, "refused.jsonl", "--budget", "4", "--engine", "submodlib") == 2
    assert "needs the package submodlib-py, which is not installed" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1 and "Use auto" in said
    with pytest.raises(SelectionError, match="Use auto"):
        greedy_order(np.eye(3, dtype=np.float32), engine="submodlib")
    kept = SelectionRequest(ObjectiveConfig("instruction"), parse_budget("4"), engine="submodlib")
    assert kept.engine == "submodlib"  # what was chosen elsewhere still opens


@dataclass(frozen=True)
class OldSelection:
    """A kept selection and its export, as a version with the engine left them: other rows than exact greedy chooses."""

    engine: str
    selection_id: str
    chosen: list[int]
    manifest: Path


@pytest.fixture(scope="module", params=["stochastic:0.1", "partitioned:3"])
def old(request: pytest.FixtureRequest, folder: Path) -> OldSelection:
    engine = str(request.param)
    out = folder / f"old-{engine.partition(':')[0]}.jsonl"
    assert curate(folder, "exact.jsonl", "--budget", "4") == 0
    with Workspace.open(folder / "w") as workspace:
        run_id = workspace.selections.load(read_manifest(folder / "exact.manifest.json").selection_id).run_id
        selector, config = Selector(open_run(workspace, run_id)), objective_of("default", "instruction")
        order = selector.problem("euclidean", config).greedy.order[::-1]
        answer = selector.select(SelectionRequest(config, Budget("rows", 4), method="given", given=order))
        made = replace(answer, engine=engine, method="delift")
        kept = workspace.selections.add(run_id, made, name="old", metric="euclidean", seed=3)
        export_selection(workspace, kept.id, out)
    return OldSelection(engine, kept.id, made.chosen.tolist(), out.with_suffix(".manifest.json"))


def test_a_kept_selection_of_a_removed_engine_opens_with_its_rows_and_reasons(folder: Path, old: OldSelection) -> None:
    with Workspace.open(folder / "w") as workspace:
        curated = open_selection(workspace, old.selection_id)
        assert curated.record.selection.engine == old.engine
        assert curated.subset.positions.tolist() == sorted(old.chosen)
        assert [curated.reason(position) for position in old.chosen[:2]] != ["", ""]
    entry = read_manifest(old.manifest).engine
    assert entry is not None and entry.name == old.engine
    assert "no share of the best selection is promised" in entry.guarantee


def test_it_is_reoptimised_by_exact_greedy_around_the_edits(folder: Path, old: OldSelection) -> None:
    with Workspace.open(folder / "w") as workspace:
        curated = open_selection(workspace, old.selection_id)
        pool, config = curated.problem.run.pool, curated.problem.config
        workspace.edits.apply(old.selection_id, "keep", [pool[old.chosen[3]].id], author="ada")
        workspace.edits.apply(old.selection_id, "drop", [pool[old.chosen[0]].id], author="ada")
        again = reoptimise(workspace, open_selection(workspace, old.selection_id), author="ada").selection
        fixed = FixedRows((old.chosen[3],), (old.chosen[0],))
        expected = curated.selector.select(SelectionRequest(config, Budget("rows", 4), fixed=fixed, seed=3))
    assert again.engine == "auto" and again.chosen.tolist() == expected.chosen.tolist()


def test_its_manifest_is_explained_verified_and_evaluated(
    folder: Path, old: OldSelection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(old.manifest), "1"]) == 0
    assert main(["verify", str(old.manifest)]) == 0
    heldout = folder / "heldout.jsonl"
    heldout.write_text('{"instruction": "Say more", "output": "It is more."}\n', "utf-8")
    tuning = ["--against", "", "--seeds", "1", "--epochs", "1", "--device", "cpu"]
    assert main(["evaluate", str(old.manifest), "--heldout", str(heldout), *tuning]) == 0
    assert "any more" not in capsys.readouterr().err


def test_its_manifest_is_not_rerun_and_one_line_says_which_version_can(
    folder: Path, old: OldSelection, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out, elsewhere = folder / "never.jsonl", folder / "never"
    assert main(["rerun", str(old.manifest), "--out", str(out), "--workspace", str(elsewhere)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert f"DELIFT Studio 0.2.0 has no engine {old.engine!r} any more: run this with version 0.1.0" in printed.err
    assert not out.exists() and not elsewhere.exists()
