"""What can be known before scoring is told before it, and before standing in line: here another process holds the turn
all the while, so that whatever waits for it would never end."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from delift_core.cli import curate_commands, main
from delift_core.curation.scoring_runs import refresh, start
from delift_core.errors import DeliftError, ModelError
from delift_core.evaluation.background import EvaluationJob, prepare_job
from delift_core.evaluation.evaluate import check_request
from delift_core.evaluation.evaluation_request import EvaluationRequest
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.models.loading import load_model, read_outline
from delift_core.models.model_files import check_model
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.workspace import RunSpec, Workspace
from tests.export.scored import alpaca_lines
from tests.tiny_models import FAMILIES, save_model

pytestmark = pytest.mark.slow

HOLDER = """
import sys, time
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.queue import Ticket, wait_for_device
with wait_for_device(Ticket("r7", "/somewhere/else", 1), "cpu"):
    print("held", flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Site:
    """A folder with a pool of six rows and a model, in which everything was scored and selected once."""

    folder: Path
    model: Path

    def words(self, *more: object, command: str = "curate", budget: str = "2") -> list[str]:
        """A command that would have something to score, by an option, a pool or a workspace that differs."""
        stage = ["--stage", "instruction", "--budget", budget, "--out", self.folder / "out.jsonl"]
        chosen = stage if command == "curate" else []
        given = [command, self.folder / "pool.jsonl", "--device", "cpu", *chosen, *more]
        defaults = [("--model", self.model), ("--workspace", self.folder / "work")]
        return [*map(str, given), *(str(word) for pair in defaults if pair[0] not in more for word in pair)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("before")
    made = Site(folder, save_model(folder / "model"))
    rows = [json.loads(line) | {"planet": ("earth", "moon")[at % 2]} for at, line in enumerate(alpaca_lines(6))]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "heldout.jsonl").write_text('{"instruction": "Spell moon.", "output": "m-o-o-n"}\n')
    assert main(made.words()) == 0
    assert main(made.words("--pairs", "k=2", "--out", folder / "few.jsonl")) == 0
    return made


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody else has the device."""
    monkeypatch.setenv("DELIFT_QUEUE", str(tmp_path / "queue"))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=dict(os.environ))
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    yield
    holder.kill()
    holder.wait()


def refused(capsys: pytest.CaptureFixture[str], words: list[str], *told: str) -> None:
    """The command ends at once, with one line that holds these words, and nobody was waited for."""
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("delift: ")]
    assert out == "" and len(lines) == 1 and all(word in lines[0] for word in told), err
    assert "waiting" not in err


@pytest.mark.slow
def test_what_has_something_to_score_waits(site: Site, held: None, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "delift_core", *site.words("--workspace", tmp_path / "new", command="score")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    first = next(line for line in process.stderr if not line.startswith("loading"))
    assert first.startswith("waiting for ")
    process.kill()
    process.wait()


@pytest.mark.parametrize("more", [(), ("--pairs", "k=2")], ids=["all", "on a budget"])
@pytest.mark.parametrize("command", ["score", "curate"])
def test_a_run_whose_pairs_are_all_kept_needs_no_turn_and_no_weights(
    site: Site, held: None, monkeypatch: pytest.MonkeyPatch, command: str, more: tuple[str, ...]
) -> None:
    from delift_core.jobs import scoring_job as scoring

    monkeypatch.setattr(scoring, "ready_backend", None)  # nothing may call it
    assert main(site.words(*more, command=command)) == 0


def test_a_rerun_of_kept_pairs_needs_no_turn(site: Site, held: None, tmp_path: Path) -> None:
    manifest, out = site.folder / "out.manifest.json", tmp_path / "again.jsonl"
    assert main(["rerun", str(manifest), "--out", str(out), "--workspace", str(site.folder / "work")]) == 0
    assert out.read_bytes() == (site.folder / "out.jsonl").read_bytes()


def test_a_damaged_block_of_a_kept_run_is_scored_again(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(site.folder / "work", tmp_path / "work")
    block = max((tmp_path / "work" / "utility").glob("*/p*s/*.np[yz]"), key=lambda path: path.stat().st_size)
    data = bytearray(block.read_bytes())
    data[len(data) // 2] ^= 1
    block.write_bytes(bytes(data))
    words = site.words("--workspace", tmp_path / "work", command="score")
    assert main(words) == 0 and "damaged on disk; their pairs are scored again" in capsys.readouterr().err


BROKEN_MODELS = {
    "nobody/nothing": "the hub cannot be reached for model 'nobody/nothing'",
    "no folder at all": "neither a folder nor a hub id",
    "./nowhere": "the folder './nowhere' does not exist",
    "/no/such/folder": "does not exist",
    "x" * 300: "may have 255",
    "nul\0": "NUL",
    "half\udc80": "not valid UTF-8",
    "FILE": "is a file; give the folder of a model",
    "EMPTY": "holds no config.json",
    "NO-WEIGHTS": "holds no safetensors weights",
    "PICKLED": "convert its weights",
    "CUT-CONFIG": "config.json cannot be read",
    "NO-PART": "lacks 1 of 1 weight files, such as model-1.safetensors",
    "NO-TOKENIZER": "tokenizer",
    "SEQ2SEQ": "does not hold a causal language model",
    "ADAPTER": "is a LoRA adapter of '/no/base', which is missing",
    "ADAPTER-CUT": "holds no adapter_model.safetensors",
    "ADAPTER-OF-NOTHING": "names no base model",
}


def broken_model(name: str, site: Site, folder: Path) -> str:
    """The model of this name: a folder made from the good one, or the name itself."""
    made = folder / name.lower()[:60]
    if not name.isupper():
        return name
    if name == "FILE":
        return str(site.folder / "pool.jsonl")
    shutil.copytree(site.model, made)
    if name == "EMPTY" or name.startswith("ADAPTER"):
        shutil.rmtree(made)
        made.mkdir()
    base = {"base_model_name_or_path": None if name == "ADAPTER-OF-NOTHING" else "/no/base"}
    changes: dict[str, dict[str, str | None]] = {
        "NO-WEIGHTS": {"model.safetensors": None},
        "PICKLED": {"model.safetensors": None, "pytorch_model.bin": "x"},
        "CUT-CONFIG": {"config.json": '{"model_type": "lla'},
        "NO-PART": {"model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors"}}'},
        "NO-TOKENIZER": {"tokenizer.json": None, "tokenizer_config.json": None},
        "SEQ2SEQ": {"config.json": '{"model_type": "t5"}'},
        "ADAPTER": {"adapter_config.json": json.dumps(base), "adapter_model.safetensors": "x"},
        "ADAPTER-CUT": {"adapter_config.json": json.dumps(base)},
        "ADAPTER-OF-NOTHING": {"adapter_config.json": json.dumps(base), "adapter_model.safetensors": "x"},
    }
    for file, text in changes.get(name, {}).items():
        if text is None:
            (made / file).unlink()
        else:
            (made / file).write_text(text)
    return str(made)


@pytest.mark.parametrize("command", ["score", "curate"])
@pytest.mark.parametrize("name", BROKEN_MODELS, ids=[ascii(name)[:24] for name in BROKEN_MODELS])
def test_a_wrong_model_is_told_at_once(
    site: Site, held: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    words = site.words("--model", broken_model(name, site, tmp_path), command=command)
    refused(capsys, words, BROKEN_MODELS[name])


def test_the_bundled_model_that_is_not_installed_is_told_at_once(
    site: Site, held: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delift_core.models.model_files.bundled_available", lambda: False)
    refused(capsys, site.words("--model", "bundled"), "the bundled model is not installed; run: ")


def test_a_cluster_without_its_package_is_told_at_once(
    site: Site, held: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delift_core.jobs.backends.ray_installed", lambda: False)
    words = site.words("--backend", "ray", "--model", site.model, command="score")
    refused(capsys, words, "requirements-ray.txt")


@pytest.mark.parametrize(
    ("more", "budget", "told"),
    [
        ((), "7", "asks for 7 rows but the pool has 6"),
        ((), "3tok", "below the shortest sample"),
        ((), "999999tok", "asks for 999,999 tokens but the pool has"),
        (("--quota", "colour:red=1.."), "2", "This pool has no column 'colour'"),
        (("--quota", "planet:mars=1.."), "2", "mars"),
        (("--quota", "planet:moon=5.."), "6", "moon"),
        (("--quota", "planet:moon=3.."), "2", "3"),
        (("--stage", "task"), "2", "add --target FILE"),
        (("--stage", "continual"), "2", "add --existing FILE"),
        (("--target", "none.jsonl", "--stage", "task"), "2", "none.jsonl does not exist"),
        (("--map", "prompt=question,response=answer"), "2", "Map a column that the record has"),
        (("--preset", "published", "--metric", "pmi"), "2", "--preset published"),
        (("--engine", "sparse", "--method", "rds"), "2", "leave out the engine"),
        (("--engine", "submodlib", "--quota", "source:pool.jsonl=1.."), "2", "does not support quotas"),
        (("--device", "cuda"), "2", "device 'cuda' is not available"),
    ],
)
def test_what_cannot_be_chosen_or_written_is_told_at_once(
    site: Site,
    held: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    budget: str,
    told: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(capsys, site.words("--workspace", tmp_path / "new", *more, budget=budget), told)


def test_rows_that_do_not_fit_the_model_count_for_no_budget(
    site: Site, held: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = json.dumps({"instruction": "Recite.", "output": "la " * 400})
    pool = tmp_path / "long.jsonl"
    pool.write_text("\n".join([*alpaca_lines(3), long]) + "\n")
    words = site.words("--workspace", tmp_path / "new", budget="4")
    refused(capsys, [str(pool) if word.endswith("pool.jsonl") else word for word in words], "4 rows", "has 3")


def test_a_disk_without_room_for_the_subset_or_the_blocks_is_told_at_once(
    site: Site,
    held: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = site.words("--workspace", tmp_path / "new")
    full = SimpleNamespace(free=100, total=1 << 40, used=1 << 40)
    with monkeypatch.context() as patch:
        patch.setattr(curate_commands.shutil, "disk_usage", lambda path: full)
        refused(capsys, words, "out.jsonl and its manifest take at least")
        scoring = ["score", *(word for word in words[1:4])]
        refused(
            capsys,
            [*scoring, "--model", str(site.model), "--workspace", str(tmp_path / "other")],
            "on disk and 100 B are free",
        )


def test_an_evaluation_is_refused_before_it_waits(
    site: Site, held: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, heldout = site.folder / "out.manifest.json", site.folder / "heldout.jsonl"
    words = ["evaluate", str(manifest), "--device", "cpu", "--heldout"]
    refused(capsys, [*words, str(site.folder / "pool.jsonl")], "held-out rows are in the pool")
    refused(capsys, [*words, str(heldout), "--against", "astrology"], "no arm 'astrology'")
    refused(capsys, [*words, str(heldout), "--save-adapter", str(tmp_path / "new")], "choose LoRA")
    document = json.loads(manifest.read_text())
    document["model"]["name"] = "nobody/nothing"
    other = tmp_path / "out.manifest.json"
    other.write_text(json.dumps(document))
    refused(capsys, ["evaluate", str(other), "--heldout", str(heldout)], "the hub cannot be reached")
    rerun = ["rerun", str(other), "--out", str(tmp_path / "again.jsonl"), "--workspace", str(tmp_path / "new")]
    refused(capsys, rerun, "the hub cannot be reached")


def test_a_worker_tells_a_wrong_model_without_waiting_for_its_turn(site: Site, held: None, tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "work") as workspace:
        samples = with_ids(
            [ParsedRecord((Message("user", f"Say {i}"), Message("assistant", str(i))), "{}", "p", i) for i in (1, 2)]
        )
        from delift_core.data.loading import Dataset

        pool = workspace.datasets.add(Dataset("p", "alpaca", None, samples), role="pool")
        spec = RunSpec(pool.id, None, None, "nobody/nothing", "auto", "cpu", "float32")
        run = start(workspace, spec, mode="score")
        ends = time.monotonic() + 120
        while refresh(workspace, run.id)[1].active and time.monotonic() < ends:
            time.sleep(0.05)
        record, status = refresh(workspace, run.id)
        assert record.status == "failed" and "the hub cannot be reached for model" in status.progress.message
        with pytest.raises(ModelError, match="holds no config.json"):
            (tmp_path / "empty").mkdir()
            start(
                workspace, RunSpec(pool.id, None, None, str(tmp_path / "empty"), "auto", "cpu", "float32"), mode="score"
            )


def test_an_evaluation_in_the_background_tells_a_wrong_model_without_waiting(
    site: Site, held: None, tmp_path: Path
) -> None:
    def rows(*names: str) -> tuple:
        return with_ids([ParsedRecord((Message("user", n), Message("assistant", "b")), "{}", "p", 1) for n in names])

    request = EvaluationRequest(rows("a", "c"), (0,), rows("d"), model="nobody/nothing", device="cpu")
    job = JobFolder(tmp_path / "evaluations" / "s1.x", "evaluation")
    prepare_job(job, EvaluationJob("evaluate", False, request))
    with pytest.raises(DeliftError, match="the hub cannot be reached"):
        job.run(lambda: False)
    check_request(EvaluationRequest(rows("a", "c"), (0,), rows("d"), model=str(site.model), device="cpu"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_outline_of_a_model_says_what_it_will_be(tmp_path: Path, family: str) -> None:
    folder = str(save_model(tmp_path, family))
    check_model(folder)
    assert read_outline(folder, "float32").identity == load_model(folder, device="cpu").identity


def test_lora_layers_are_a_model_with_the_tokenizer_of_theirs(site: Site, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = load_model(str(site.model), device="cpu")
    layers = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    get_peft_model(base.model, layers).save_pretrained(str(tmp_path / "layers"))
    check_model(str(tmp_path / "layers"))
    outline, loaded = read_outline(str(tmp_path / "layers"), "float32"), load_model(str(tmp_path / "layers"))
    assert outline.identity.revision == loaded.identity.revision != base.identity.revision
    assert loaded.tokenizer.get_vocab() == base.tokenizer.get_vocab()


def test_the_turn_is_free_again(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIFT_QUEUE", str(tmp_path / "queue"))
    assert main(site.words("--workspace", tmp_path / "new", command="score")) == 0
    with wait_for_device(
        Ticket("r1", str(tmp_path / "new"), time.time_ns()), "cpu", stop=lambda: pytest.fail("it waits")
    ):
        pass
