"""Trainers train what is scored: the turns that are to be trained, and the answers that were chosen."""

import json
from pathlib import Path

import pytest

from delift_core.curation.curate import open_selection
from delift_core.data.loading import ReadOptions, load_bytes, load_file
from delift_core.export.card import trainer_kit
from delift_core.export.preflight import ExportDraft
from delift_core.export.recipes import recipes
from delift_core.export.shapes import shape_of_file
from delift_core.export.subset_files import export_selection
from delift_core.export.trainers import check_table
from delift_core.export.writers import render_lines
from delift_core.samples import ExportFormat
from delift_core.workspace import Workspace
from tests.export.scored import scored


def talk(*words: str, marks: dict[int, dict[str, object]] | None = None, **more: object) -> dict[str, object]:
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": word, **(marks or {}).get(at, {})} for at, word in enumerate(words)]
    return {"messages": turns, **more}


def trained(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """What the script for TRL trains: the texts of a prompt, and its completion."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    monkeypatch.chdir(folder)
    scope: dict[str, object] = {}
    exec(script[: script.index("# With a prompt")].replace("from trl import SFTConfig, SFTTrainer\n", ""), scope)
    rows = scope["data"]
    return [([one["content"] for one in row["prompt"]], row["completion"][0]["content"]) for row in rows]  # type: ignore[attr-defined]


def script_for(text: bytes, folder: Path) -> str:
    (folder / "x.jsonl").write_bytes(text)
    records = [json.loads(line) for line in text.splitlines()]
    return next(one.text for one in recipes(shape_of_file(records), "x.jsonl", 64) if one.trainer == "TRL")


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"mask": True}, {"loss": "no"}])
def test_trl_trains_what_is_scored(mark: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [talk("q", "a", "r", "b", marks={3: mark}), talk("s", "c", "t", "d", marks={1: mark})]
    text = "\n".join(map(json.dumps, rows)).encode()
    found = trained(script_for(text, tmp_path), tmp_path, monkeypatch)
    samples = load_bytes(text, "x.jsonl").samples
    assert found == [([turn.content for turn in one.messages[:-1]], one.response) for one in samples]
    assert [answer for _, answer in found] == ["a", "d"]


def test_the_other_trainers_are_told_or_named() -> None:
    rows = [talk("q", "a", "r", "b", marks={1: {"weight": 1}, 3: {"weight": 0}}), talk("q", "a")]
    trl, llama_factory, axolotl = check_table(rows, limit=64)
    assert (trl.risks, axolotl.risks) == ((), ())
    assert [(risk.row, risk.effect) for risk in llama_factory.risks] == [(0, "trains more")]
    made = {one.trainer: one.text for one in recipes(shape_of_file(rows), "x.jsonl", 64)}
    assert 'message_field_training: "weight"' in made["Axolotl"]
    words = [talk("q", "a", "r", "b", marks={3: {"mask": "yes"}}), talk("q", "a")]
    assert [one.risks[0].effect for one in check_table(words, limit=64)[1:]] == ["trains more"] * 2
    nothing = check_table([talk("q", "a", marks={1: {"weight": 0}}), talk("q", "a")], limit=64)
    assert nothing[0].kept == 0 and "not to be trained" in nothing[0].note


PARTS = [
    {"question": "q", "context": "c", "answer": "a"},
    {"instruction": "i", "input": "x", "context": "c", "output": "o", "system": "s"},
    {"prompt": "p", "input": "x", "completion": "o"},
    {"prompt": "p", "history": [["h", "g"]], "completion": "o"},
    {"instruction": "i", "input": "x", "response": "o", "system_prompt": "s"},
]


@pytest.mark.parametrize("record", PARTS)
def test_recipes_join_the_prompt_as_it_is_scored(
    record: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(record).encode()
    (sample,) = load_bytes(text, "x.jsonl").samples
    assert trained(script_for(text, tmp_path), tmp_path, monkeypatch) == [
        ([turn.content for turn in sample.messages[:-1]], sample.response)
    ]
    made = {one.trainer: one.text for one in recipes(shape_of_file([record]), "x.jsonl", 64)}
    part = next((name for name in ("input", "context") if name in record), None)
    if part:
        assert json.loads(made["LLaMA-Factory"])["x"]["columns"]["query"] == part
        assert "type: alpaca" in made["Axolotl"] or f'field_input: "{part}"' in made["Axolotl"]
    for format in ("messages", "sharegpt", "prompt-completion", "alpaca"):
        (line,) = render_lines([sample], format)
        assert load_bytes(line.encode(), "y.jsonl").samples[0].messages == sample.messages


def test_a_second_part_is_named_where_a_trainer_takes_one() -> None:
    rows = [PARTS[1]]
    assert [one.risks[0].effect if one.risks else "" for one in check_table(rows, limit=64)] == [
        "",
        "loses a field",
        "loses a field",
    ]
    assert "`context`" in check_table(rows, limit=64)[1].risks[0].reason


LINES = [
    json.dumps(talk("u0", "a0", "u1", "a1", "u2", "a2", id="x")),
    json.dumps(talk("v0", "b0", "v1", "b1", system="S")),
    json.dumps({"messages": [{"role": "user", "content": "w"}, {"role": "assistant", "content": "c"}]}),
]


@pytest.mark.parametrize("format", ["same", "messages", "sharegpt"])
def test_trl_trains_the_chosen_answers_of_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: ExportFormat
) -> None:
    """Each record is written whole and once; which of its answers is trained is said by the recipe."""
    out = tmp_path / "out.jsonl"
    with Workspace.open(tmp_path / "work") as workspace:
        made = scored(workspace, tmp_path / "pool.jsonl", LINES, budget="3", turns="every")
        rows = {one.response: one.id for one in load_file(made.pool_file, ReadOptions(turns="every")).samples}
        keep = ["a0", "a1", "b0", "c"]
        workspace.edits.apply(made.selection_id, "keep", [rows[name] for name in keep], author="me")
        others = [rows[name] for name in rows if name not in keep]
        workspace.edits.apply(made.selection_id, "drop", others, author="me")
        manifest = export_selection(workspace, made.selection_id, out, format=format)
        curated = open_selection(workspace, made.selection_id)
        draft = ExportDraft(curated, format)
        assert [one.ends for one in draft.chosen_answers] == [(1, 3), (2,), (1,)]
        checks = draft.trainer_checks(100)
        kit = trainer_kit(draft, manifest, 100)
    script = next(one.text for one in kit.recipes if one.trainer == "TRL")
    found = trained(script, tmp_path, monkeypatch)
    assert found == [(["u0"], "a0"), (["u0", "a0", "u1"], "a1"), (["S", "v0"], "b0"), (["w"], "c")]
    assert [[risk.row for risk in one.risks if risk.effect == "trains more"] for one in checks] == [[], [0, 1], [0, 1]]
