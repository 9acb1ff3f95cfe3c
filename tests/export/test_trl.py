"""Exported files taken through TRL's own preprocessing: as many rows as the check table says."""

import json
from pathlib import Path
from typing import Any

import pytest

from delift_core.data.loading import load_bytes
from delift_core.data.loading.json_scanner import DECODER
from delift_core.export.recipes import recipes
from delift_core.export.shapes import shape_of_file
from delift_core.export.trainer_rules import RowLength
from delift_core.export.trainers import check_table
from delift_core.export.writers import render_lines
from delift_core.samples import ExportFormat
from tests.tiny_models import byte_tokenizer, save_model

pytestmark = pytest.mark.slow

LIMIT = 120
ROWS = [
    {"instruction": "Say hi", "input": "", "output": "Hi."},
    {"instruction": "A question without an end " * 12, "input": "", "output": "Yes."},  # the prompt alone is too long
    {"instruction": "Count", "input": "", "output": "one two three " * 20},  # the answer is cut
    {"instruction": "Say ho", "input": "to é\u2028", "output": "Ho.", "system": "Be kind."},
]


def lengths(records: list[Any]) -> list[RowLength]:
    """Tokens of each row as TRL counts them."""
    tokenizer = byte_tokenizer()
    found = []
    for record in records:
        if "text" in record:
            found.append(RowLength(0, len(tokenizer(record["text"]).input_ids) + 1))  # TRL ends a text
            continue
        if isinstance(record.get("prompt"), str):
            prompt, whole = (tokenizer(text).input_ids for text in (record["prompt"], "".join(record.values())))
        else:
            turns = record["messages"] if "messages" in record else [*record["prompt"], *record["completion"]]
            prompt = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True)["input_ids"]
            whole = tokenizer.apply_chat_template(turns)["input_ids"]
        found.append(RowLength(len(prompt), len(whole) - len(prompt)))
    return found


def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> tuple[int, int]:
    """Rows that TRL trains on after its own preprocessing, and rows that the check table says it keeps."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "out.jsonl").write_text("".join(lines), "utf-8")
    records = [DECODER.decode(line) for line in lines]
    (script,) = (one.text for one in recipes(shape_of_file(records), "out.jsonl", LIMIT) if one.trainer == "TRL")
    script = script.replace('output_dir="out"', 'output_dir="out", report_to=[], use_cpu=True')
    script = script.replace('"your/model"', repr(str(save_model(tmp_path / "tiny"))))
    script = script.replace("SFTTrainer(model", "trainer = SFTTrainer(model").replace(".train()", "")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(script, scope)
    (check,) = (one for one in check_table(records, limit=LIMIT, lengths=lengths(records)) if one.trainer == "TRL")
    return len(scope["trainer"].train_dataset), check.kept


@pytest.mark.parametrize("format", ["prompt-completion", "messages", "sharegpt", "alpaca"])
def test_the_check_table_says_how_many_rows_trl_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: ExportFormat
) -> None:
    samples = load_bytes("\n".join(map(json.dumps, ROWS)).encode(), "in.jsonl").samples
    own = list(render_lines(samples, format))
    monkeypatch.setattr(f"{__name__}.lengths", lambda records, found=lengths: found(_as_turns(samples)))
    assert prepared(tmp_path, monkeypatch, own) == (3, 3)


def _as_turns(samples: Any) -> list[Any]:
    return [json.loads(line) for line in render_lines(samples, "prompt-completion")]


def test_prompts_and_completions_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{json.dumps({'prompt': row['instruction'], 'completion': row['output']})}\n" for row in ROWS]
    assert prepared(tmp_path, monkeypatch, lines) == (3, 3)


def test_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{json.dumps({'text': row['instruction'] + row['output']})}\n" for row in ROWS]
    assert prepared(tmp_path, monkeypatch, lines) == (4, 4)
