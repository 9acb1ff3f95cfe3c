"""Every command through `main`, as a user gives it; and what only a process of its own can show."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.cli.terminal import safe
from delift_core.curation.manifest import read_manifest
from delift_core.curation.scoring_runs import open_run
from delift_core.models.prompts import TEMPLATE_VERSION
from delift_core.selection.types import Quota
from delift_core.workspace import Workspace
from tests.rounding import UTILITY
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
ESCAPE = "\x1b[31mred\x1b[0m\u202e"


@dataclass(frozen=True)
class Studio:
    """A folder with a tiny model, a pool with awkward rows, and one finished `curate`."""

    folder: Path
    model: Path
    pool: Path
    out: Path
    document: dict[str, object]

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def manifest(self) -> Path:
        return self.out.with_suffix(".manifest.json")


Run = Callable[..., tuple[int, str, str]]


def row(number: int, response: str) -> str:
    return json.dumps({"instruction": f"Say {number}", "input": "", "output": response})


def pool_lines() -> list[str]:
    lines = [row(number, f"It is {number}.") for number in range(6)]
    lines += [row(6, ""), "{not json", row(7, "long " * 80), row(8, ESCAPE), lines[2]]
    return lines


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Studio:
    folder = tmp_path_factory.mktemp("studio")
    pool, out = write(folder / "pool.jsonl", pool_lines()), folder / "out.jsonl"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(
            ["curate", str(pool), "--stage", "instruction", "--budget", "3", "--model", str(model), "--seed", "4"]
            + ["--self-coverage", "0.5", "--out", str(out), "--workspace", str(folder / "workspace"), "--json"]
        )
    assert code == 0
    return Studio(folder, model, pool, out, json.loads(printed.getvalue()))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """Exit 2, nothing on standard output, one line on standard error that holds these words."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.endswith("\n") and err.count("\n") == 1 and "Traceback" not in err
    for word in words:
        assert word in err


def test_inspect_counts_rows_and_problems(run: Run, studio: Studio) -> None:
    code, out, _ = run("inspect", studio.pool)
    assert code == 0
    assert "9 rows in alpaca format, 2 records left out" in out
    assert "1 empty-response, the first is pool.jsonl, line 7, field 'output'" in out
    assert "1 not-json, the first is pool.jsonl, line 8" in out
    assert "repeats: 1 rows" in out
    code, out, _ = run("inspect", studio.pool, "--json")
    document = json.loads(out)
    assert (document["rows"], document["left_out"], document["repeats"]) == (9, 2, 1)
    assert {one["kind"]: one["first"]["line"] for one in document["problems"]} == {"empty-response": 7, "not-json": 8}


def test_inspect_says_what_to_look_at(run: Run, tmp_path: Path) -> None:
    long = "Explain how a bicycle stays upright while it moves, in words that a child of ten can follow."
    lines = [json.dumps({"instruction": long, "output": "It leans."}), row(1, "Dear {{name}}")]
    lines += [json.dumps({"instruction": long.replace("child", "kid"), "output": "It leans."})]
    lines += [json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})]
    pool = write(tmp_path / "pool.jsonl", lines)
    other = write(tmp_path / "held.jsonl", [json.dumps({"question": long.upper(), "answer": "Otherwise."})])
    code, out, _ = run("inspect", pool, "--against", other)
    assert code == 0 and "formats: 3 alpaca, 1 messages" in out
    assert "look at: 1 × Unfilled template text (line 2)" in out
    assert "copies: 1 rows are copies (at least 80% similar, or paraphrases) of 1 others" in out and "keep row 1" in out
    assert "shared: 2 rows have a prompt that the other set holds too (line 1, 3)" in out
    document = json.loads(run("inspect", pool, "--against", other, "--near", "1", "--json")[1])
    assert document["formats"] == {"alpaca": 3, "messages": 1} and document["copies"] == []
    assert [one["row"]["line"] for one in document["shared"]] == [1]
    assert [one["rows"][0]["line"] for one in document["health"]] == [2]
    refused(run("inspect", pool, "--near", "0"), "0.1 to 1")


def test_a_preference_file_needs_a_choice(run: Run, tmp_path: Path) -> None:
    pairs = write(tmp_path / "p.jsonl", [json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"})] * 2)
    refused(run("inspect", pairs), "--answer chosen")
    assert "preference-rejected" in run("inspect", pairs, "--answer", "rejected")[1]
    common = ("convert", pairs, "--answer", "chosen", "--out", tmp_path / "o.jsonl")
    assert run(*common, "--format", "messages")[0] == 0
    turns = json.loads((tmp_path / "o.jsonl").read_text("utf-8").splitlines()[0])["messages"]
    assert [turn["content"] for turn in turns] == ["q", "a"]


def test_curate_writes_the_chosen_lines_as_found(studio: Studio) -> None:
    manifest = read_manifest(studio.manifest)
    lines = pool_lines()
    written = [lines[entry.line - 1] for entry in manifest.written]
    assert studio.out.read_text("utf-8").split("\n") == [*written, ""]
    assert len(written) == 3 == studio.document["chosen"]
    assert studio.document["records"] == 11 and studio.document["rows"] == 9 and studio.document["not_scored"] == 1
    (unscored,) = [entry for entry in manifest.rows if entry.status == "not-scored"]
    assert unscored.line == 9 and "the response has 400 tokens" in unscored.reason
    assert manifest.seed == 4 and manifest.objective.self_coverage == 0.5
    assert manifest.pool.sha256 and manifest.pool.origin == str(studio.pool)


def test_curate_in_words(run: Run, studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "again.jsonl"
    code, text, err = run(
        *("curate", studio.pool, "--stage", "instruction", "--budget", "50%", "--model", studio.model),
        *("--out", out, "--workspace", studio.workspace, "--metric", "pmi", "--format", "messages", "--name", "half"),
    )
    assert (code, err) == (0, "")  # every pair was scored before, so there is no progress to show
    assert "11 records in, 9 usable, 8 scored" in text
    assert "not scored: 1 rows do not fit this model, the first is pool.jsonl, line 9" in text
    assert "chosen: 4 of 8 rows (budget 50%)" in text and "certificate" in text and "random subsets reach" in text
    assert studio.document["rendering"] == {"template": "chat", "sharing": "prefix", "notes": {}, "arguments": ""}
    with Workspace.open(studio.workspace) as workspace:
        assert "half" in {record.name for record in workspace.selections.records()}
    assert all("messages" in json.loads(line) for line in out.read_text("utf-8").splitlines())
    assert run("verify", tmp_path / "again.manifest.json")[0] == 0


def test_stages_with_a_target_and_existing_rows_and_tokens(run: Run, studio: Studio, tmp_path: Path) -> None:
    target = write(tmp_path / "target.csv", ["ask,reply", "Say 9,It is 9.", "Say 10,It is 10."])
    existing = write(tmp_path / "existing.jsonl", [row(20, "It is 20.")])
    small = write(tmp_path / "small.jsonl", pool_lines()[:4])
    common = ("curate", small, "--model", studio.model, "--target", target, "--existing", existing, "--json")
    common += ("--target-map", "prompt=ask,response=reply", "--workspace", studio.workspace)
    code, out, _ = run(*common, "--stage", "task", "--eta", "0.5", "--budget", "60tok", "--out", tmp_path / "t.jsonl")
    document = json.loads(out)
    assert code == 0 and document["objective"]["eta"] == 0.5 and document["budget"]["unit"] == "tokens"
    roles = [entry.role for entry in read_manifest(tmp_path / "t.manifest.json").inputs]
    assert roles == ["pool", "target", "existing"]
    code, out, _ = run(*common, "--stage", "continual", "--nu", "0", "--budget", "2", "--out", tmp_path / "c.jsonl")
    assert code == 0 and json.loads(out)["chosen"] == 2
    assert run("verify", tmp_path / "c.manifest.json")[0] == 0


def test_export_again_after_an_edit(run: Run, studio: Studio, tmp_path: Path) -> None:
    selection = str(studio.document["selection"])
    first = read_manifest(studio.manifest).written[0]
    with Workspace.open(studio.workspace) as workspace:
        workspace.edits.apply(selection, "drop", [first.id], author="Ada", why="too short")
    common = ("export", selection, "--workspace", studio.workspace, "--out", tmp_path / "edited.jsonl")
    code, out, _ = run(*common, "--json")
    assert code == 0 and json.loads(out)["rows"] == 2
    code, out, _ = run("explain", tmp_path / "edited.manifest.json", first.id)
    assert code == 0 and "dropped-by-hand" in out and "(too short)" in out
    with Workspace.open(studio.workspace) as workspace:
        workspace.edits.undo(selection)
    refused(run("export", "s999", *common[2:]), "no selection 's999'")


def test_export_says_what_trainers_keep_and_writes_recipes(run: Run, studio: Studio, tmp_path: Path) -> None:
    common = ("export", studio.document["selection"], "--workspace", studio.workspace)
    code, out, _ = run(*common, "--out", tmp_path / "o.jsonl", "--recipes", "--max-tokens", "99")
    assert code == 0 and "LLaMA-Factory would keep 3 of 3 rows" in out and "o.axolotl.yaml" in out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("o.jsonl", "o.manifest.json", "o.trl.py", "o.dataset_info.json", "o.axolotl.yaml", "o.card.md"),
    }
    assert "sequence_len: 99" in (tmp_path / "o.axolotl.yaml").read_text("utf-8")
    card = (tmp_path / "o.card.md").read_text("utf-8")
    assert 'path: "o.jsonl"' in card and "| TRL | 3 | 3 |" in card and str(studio.folder) not in card
    code, out, _ = run(*common, "--out", tmp_path / "p.jsonl", "--max-tokens", "5", "--json")
    trainers = {one["trainer"]: one for one in json.loads(out)["trainers"]}
    assert (trainers["Axolotl"]["kept"], trainers["LLaMA-Factory"]["kept"]) == (0, 3)
    assert {risk["effect"] for risk in trainers["Axolotl"]["risks"]} == {"left out"}


def test_score_says_what_it_measured(run: Run, studio: Studio) -> None:
    common = ("score", studio.pool, "--model", studio.model, "--workspace", studio.workspace)
    code, out, _ = run(*common, "--json")
    document = json.loads(out)
    assert code == 0 and document["run"] == studio.document["run"]
    assert (document["rows"], document["not_scored"], document["pairs"]) == (8, 1, 49)  # a repeat is scored once
    assert "49 pairs of 8 rows" in run(*common)[1]


def test_convert_needs_no_model(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "table.csv", ["ask,reply,rules", "Hi?,Ho.,Be brief.", "And?,,x"])
    mapping = "prompt=ask,response=reply,system=rules"
    code, out, _ = run("convert", source, "--map", mapping, "--format", "messages", "--out", tmp_path / "o.jsonl")
    assert code == 0 and "1 rows written as messages" in out and "1 empty-response" in out
    turns = json.loads((tmp_path / "o.jsonl").read_text("utf-8"))["messages"]
    assert [turn["content"] for turn in turns] == ["Be brief.", "Hi?", "Ho."]
    array = tmp_path / "array.json"
    array.write_text('[ {"instruction": "a", "output": "\\u00e9"},\n {"instruction": "b", "output": "c"} ]')
    code, out, _ = run("convert", array, "--out", tmp_path / "s.jsonl", "--json")
    assert code == 0 and json.loads(out)["rows"] == 2
    expected = '{"instruction":"a","output":"\\u00e9"}\n{"instruction":"b","output":"c"}\n'
    assert (tmp_path / "s.jsonl").read_text() == expected


def test_convert_takes_the_formulas_out_of_a_table_by_choice(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", ['{"instruction": "=cmd()", "output": "-1"}'])
    out = tmp_path / "o.csv"
    for choice, row in (("keep", '"=cmd()","-1"'), ("quote", '"\'=cmd()","\'-1"')):
        assert run("convert", source, "--out", out, "--formulas", choice)[0] == 0
        assert out.read_text("utf-8").splitlines()[1] == row


def test_convert_as_same_gives_the_usable_lines_byte_for_byte(run: Run, studio: Studio, tmp_path: Path) -> None:
    assert run("convert", studio.pool, "--format", "same", "--out", tmp_path / "o.jsonl")[0] == 0
    usable = [line for at, line in enumerate(pool_lines()) if at not in (6, 7)]
    assert (tmp_path / "o.jsonl").read_bytes() == "".join(f"{line}\n" for line in usable).encode()


def test_explain_by_id_and_by_line(run: Run, studio: Studio) -> None:
    manifest = read_manifest(studio.manifest)
    pick = next(entry for entry in manifest.rows if entry.rank == 1)
    code, out, _ = run("explain", studio.manifest, pick.line)
    assert code == 0 and "pick 1 of 3" in out and "Chosen 1st" in out and f"Say {pick.line - 1}" in out
    assert run("explain", studio.manifest, pick.id)[1] == out
    document = json.loads(run("explain", studio.manifest, pick.id, "--json")[1])
    assert [text["id"] for text in document["texts"]] == [pick.id, *pick.named]
    assert "the response has 400 tokens" in run("explain", studio.manifest, 9)[1]
    refused(run("explain", studio.manifest, "99"), "'99'")
    refused(run("explain", studio.manifest, "7"), "no pool row")  # left out when the file was read


def test_texts_cannot_steer_the_terminal(run: Run, studio: Studio) -> None:
    code, out, _ = run("explain", studio.manifest, 10)
    assert code == 0 and r"\x1b[31mred\x1b[0m\u202e" in out and "\x1b" not in out and "\u202e" not in out
    assert safe("a\nb\x9b2J\u2028 é 漢 😀") == r"a\nb\x9b2J\u2028 é 漢 😀"


def test_verify_fails_on_a_changed_byte(run: Run, studio: Studio, tmp_path: Path) -> None:
    for path in (studio.out, studio.manifest):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = tmp_path / studio.manifest.name
    assert json.loads(run("verify", manifest, "--json")[1])["ok"] is True
    copy = tmp_path / studio.out.name
    copy.write_bytes(copy.read_bytes().replace(b"It is", b"it is", 1))
    code, out, err = run("verify", manifest)
    assert (code, err) == (1, "")
    assert "FAIL  Output hash: out.jsonl was changed after the export" in out
    assert run("verify", manifest, "--json")[0] == 1
    refused(run("verify", studio.pool), "is not a manifest of DELIFT Studio")


def test_evaluate_compares_on_held_out_rows(run: Run, studio: Studio, tmp_path: Path) -> None:
    heldout = write(tmp_path / "heldout.jsonl", [row(number, f"It is {number}.") for number in range(30, 36)])
    common = ("evaluate", studio.manifest, "--heldout", heldout, "--against", "random", "--seeds", 1, "--epochs", 1)
    code, out, err = run(*common, "--json")
    assert code == 0 and "loss" in err
    assert [arm["name"] for arm in json.loads(out)["arms"]] == ["untouched", "subset", "random"]
    refused(run(*common[:4], "--against", "luck"), "luck")


def test_gc_and_doctor(run: Run, studio: Studio) -> None:
    (studio.workspace / "exports" / ".x.part").write_bytes(b"half")
    code, out, _ = run("gc", "--dry-run", "--workspace", studio.workspace, "--json")
    document = json.loads(out)
    assert code == 0 and document["bytes"] == 4 and len(document["removed"]) == 1
    out = run("gc", "--workspace", studio.workspace)[1]
    assert "a file that was not finished" in out and "removed 1 files" in out
    assert "removed 0 files" in run("gc", "--workspace", studio.workspace)[1]
    code, out, _ = run("doctor", "--workspace", studio.workspace, "--json")
    document = json.loads(out)
    assert code == (0 if document["ok"] else 1)
    assert {check["label"] for check in document["checks"]} >= {"Python", "Torch", "Workspace", "Bundled model"}
    (studio.folder / "broken").mkdir()
    (studio.folder / "broken" / "delift.duckdb").write_bytes(b"junk")
    assert run("doctor", "--workspace", studio.folder / "broken")[0] == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.jsonl", "", "is empty"),
        ("words.jsonl", "hello\nworld\n", "words.jsonl, line 1"),
        ("table.csv", "a,b\n1,2\n", "--map prompt=COL,response=COL"),
        ("blank.jsonl", '{"instruction":"a","output":" "}\n', "blank.jsonl, line 1, field 'output'"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "score", "curate", "convert"])
def test_files_without_a_usable_row_are_refused(
    run: Run, tmp_path: Path, command: str, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    more = {
        "inspect": [],
        "score": ["--workspace", tmp_path / "w"],
        "curate": [
            *("--stage", "instruction", "--budget", "1", "--out", tmp_path / "o"),
            "--workspace",
            tmp_path / "w",
        ],
        "convert": ["--out", tmp_path / "o"],
    }
    refused(run(command, path, *more[command]), words)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_pool_that_does_not_fit_the_model_at_all(run: Run, studio: Studio, tmp_path: Path) -> None:
    pool = write(tmp_path / "long.jsonl", [row(1, "long " * 80)])
    refused(
        run("score", pool, "--model", studio.model, "--workspace", tmp_path / "w"),
        "no pool sample can be scored",
        "400 tokens",
        "shorten or drop the row",
    )


def test_an_unknown_model_is_refused_before_anything_is_read_or_made(run: Run, studio: Studio, tmp_path: Path) -> None:
    answer = run("score", studio.pool, "--model", "nobody/nothing", "--workspace", tmp_path / "w")
    refused(answer, "nobody/nothing", "local cache", "'bundled'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "COMMAND"),
        (["bogus"], "'bogus'"),
        (["curate", "P", "--out", "o"], "--stage, --budget"),
        (["curate", "P", "--out", "o", "--stage", "task", "--budget", "3"], "--target FILE"),
        (["curate", "P", "--out", "o", "--stage", "instruction", "--budget", "3x"], "'3x'"),
        (["curate", "P", "--out", "o", "--stage", "instruction", "--budget", "99"], "at most 9"),
        (["curate", "P", "--out", "P", "--stage", "instruction", "--budget", "3"], "overwrite the input"),
        (["curate", "P", "--out", "no/o", "--stage", "instruction", "--budget", "3"], "does not exist"),
        (["score", "P", "--pairs", "k=0"], "would score no pair"),
        (["score", "P", "--ray-address", "auto"], "add --backend ray"),
        (["score", "P", "--quantize", "8bit"], "'8bit' (choose from '4bit')"),
        (["score", "P", "--quantize", "4bit", "--dtype", "mixed"], "--dtype: not allowed with argument --quantize"),
        (["curate", "P", "--eta", "-1"], "at least 0"),
        (["curate", "P", "--self-coverage", "nan"], "from 0 to 1"),
        (["inspect", "P", "--map", "prompt=a"], "lacks the prompt or the response"),
        (["inspect", "hub:nobody/nothing"], "cannot be reached"),
        (["evaluate", "nowhere.manifest.json", "--heldout", "P"], "does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DELIFT_WORKSPACE", str(tmp_path / "w"))
    refused(run(*[studio.pool if word == "P" else word for word in words]), expected)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_the_format_cannot_hold_are_refused_before_scoring(run: Run, studio: Studio, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "tool", "content": "t"}, {"role": "assistant", "content": "a"}]
    pool = write(tmp_path / "pool.jsonl", [json.dumps({"messages": turns})] * 2)
    common = (pool, "--format", "alpaca", "--out", tmp_path / "o.jsonl")
    refused(run("convert", *common), "2 of 2 rows", "tool turn")
    more = ("--stage", "instruction", "--budget", "1", "--workspace", tmp_path / "w", "--model", studio.model)
    refused(run("curate", *common, *more), "2 of 2 pool rows", "tool turn")
    assert not (tmp_path / "w").exists()


def test_help_and_version(run: Run) -> None:
    assert run("--version")[0] == 0 and "curate" in run("--help")[1] and "30%" in run("curate", "--help")[1]


def start(*words: object, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "delift_core", *map(str, words)],
        cwd=REPOSITORY,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
def test_as_a_process_json_stands_alone_on_standard_output(studio: Studio) -> None:
    process = start("inspect", studio.pool, "--json")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "") and json.loads(out)["rows"] == 9
    process = start("inspect", studio.folder / "né.jsonl", PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(run: Run, model: Path, tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", [row(number, f"The number is {number}, so it is.") for number in range(20)])
    common = ("score", pool, "--model", model, "--workspace")
    process = start(*common, tmp_path / "a")
    pairs = tmp_path / "a" / "utility"
    try:
        deadline = time.monotonic() + 120
        while len(list(pairs.glob("*/pairs/*.npy"))) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err and "the same command again" in err.splitlines()[-1]
    kept = {path: path.stat().st_mtime_ns for path in pairs.glob("*/pairs/*.npy")}
    assert 2 <= len(kept) < 20
    assert run(*common, tmp_path / "a")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was scored twice
    assert run(*common, tmp_path / "b")[0] == 0
    matrices = []
    for name in ("a", "b"):
        with Workspace.open(tmp_path / name) as workspace:
            (record,) = workspace.runs.records()
            matrices.append(open_run(workspace, record.id).utilities("euclidean").pool)
    np.testing.assert_allclose(matrices[0], matrices[1], rtol=0, atol=UTILITY)


def test_an_export_is_made_again_bit_for_bit(run: Run, studio: Studio, tmp_path: Path) -> None:
    out, again = tmp_path / "by-hand.csv", tmp_path / "again.csv"
    with Workspace.open(studio.workspace) as workspace:
        ids = [row.id for row in read_manifest(studio.manifest).rows]
        workspace.edits.apply("s1", "keep", ids[:2], author="me", why="liked")
        workspace.edits.apply("s1", "drop", ids[2:3], author="me")
        workspace.edits.undo("s1", author="me")
    exported = run("export", "s1", "--out", out, "--formulas", "quote", "--workspace", studio.workspace)
    assert exported[0] == 0
    manifest = tmp_path / "by-hand.csv.manifest.json"
    code, printed, _ = run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh")
    assert code == 0 and "bit for bit" in printed and again.read_bytes() == out.read_bytes()
    refused(run("rerun", manifest, "--out", out, "--workspace", tmp_path / "fresh"), "overwrite")
    document = json.loads(manifest.read_text("utf-8"))
    document["output"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(document), "utf-8")
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh")[0] == 1
    document["model"]["template_version"] = 1
    manifest.write_text(json.dumps(document), "utf-8")
    refused(
        run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh"), "prompts were written differently"
    )
    document["model"]["template_version"] = TEMPLATE_VERSION
    document["inputs"][0]["content_hash"] = "0" * 64
    manifest.write_text(json.dumps(document), "utf-8")
    answer = run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh")
    refused(answer, "has changed: it has other rows now")


def test_quotas_are_met_written_down_and_made_again(run: Run, studio: Studio, tmp_path: Path) -> None:
    pool = write(
        tmp_path / "pool.jsonl",
        [
            json.dumps({"instruction": f"Say {row}", "output": f"It is {row}.", "topic": "xy"[row % 3 == 0]})
            for row in range(9)
        ],
    )
    out, again = tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    common = ("curate", pool, "--stage", "instruction", "--model", studio.model, "--workspace", tmp_path / "w")
    common = (*common, "--out", out)
    wanted = ("--budget", "4", "--quota", "topic:y=3..", "--quota", "topic:x=..1")
    code, printed, _ = run(*common, *wanted)
    assert code == 0 and "quotas by topic: x 1 (..1), y 3 (3..)" in printed
    assert [json.loads(line)["topic"] for line in out.read_text("utf-8").splitlines()].count("y") == 3
    manifest = read_manifest(tmp_path / "out.manifest.json")
    assert manifest.quotas is not None and manifest.quotas.groups == (Quota("x", 0, 1), Quota("y", 3))
    assert {row.group for row in manifest.rows} == {"x", "y"}
    code, printed, _ = run("rerun", tmp_path / "out.manifest.json", "--out", again, "--workspace", tmp_path / "fresh")
    assert code == 0 and again.read_bytes() == out.read_bytes()
    again_manifest = read_manifest(tmp_path / "again.manifest.json")
    assert (again_manifest.quotas, again_manifest.rows) == (manifest.quotas, manifest.rows)
    refused(run(*common, "--budget", "4", "--quota", "topic:y=4.."), "it has 3: ask for at most 3")
    refused(run(*common, "--budget", "2", "--quota", "topic:y=3.."), "need at least 3 rows and the budget is 2")
    refused(run(*common, "--budget", "90tok", "--quota", "topic:y=3.."), "rows or percent")
    refused(run(*common, "--budget", "4", "--quota", "source:a=1.."), "no column 'source'")
    refused(run(*common, "--budget", "4", "--quota", "topic=1.."), "is not understood")
