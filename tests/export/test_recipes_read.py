"""The exported files read back with `datasets`, by the very lines of the script for TRL; no trainer is needed."""

import json
from pathlib import Path

import pytest

from delift_core.data.loading import load_bytes
from delift_core.data.loading.json_scanner import DECODER
from delift_core.export.containers import write_rows
from delift_core.export.recipes import recipes
from delift_core.export.shapes import shape_of_file
from delift_core.export.trainers import check_table
from delift_core.export.writers import render_lines
from delift_core.samples import ExportFormat

ROWS = [
    {"instruction": "q", "input": "x", "output": "a"},
    {"instruction": "q\u2028é", "input": None, "output": "2024-01-01", "system": "s", "history": [["h", "i"]]},
    {"instruction": "r", "output": "NA"},
]
ENDINGS = [("alpaca", ".jsonl"), ("sharegpt", ".jsonl"), ("messages", ".jsonl"), ("prompt-completion", ".jsonl")]


@pytest.mark.parametrize(("format", "suffix"), [*ENDINGS, ("messages", ".parquet"), ("same", ".parquet")])
def test_the_script_reads_every_row_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: ExportFormat, suffix: str
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    samples = load_bytes("\n".join(map(json.dumps, ROWS)).encode(), "in.jsonl").samples
    lines = list(render_lines(samples, format))
    write_rows(tmp_path / f"out{suffix}", lines)
    records = [DECODER.decode(line) for line in lines]
    (text,) = (one.text for one in recipes(shape_of_file(records), f"out{suffix}", 512) if one.trainer == "TRL")
    script = text[: text.index("# With a prompt")].replace("from trl import SFTConfig, SFTTrainer\n", "")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(script, scope)
    data = scope["data"]
    check = check_table(records, limit=512)[0]
    assert len(data) == check.kept == len(ROWS)  # type: ignore[arg-type]
    for row, sample in zip(data, samples, strict=True):  # type: ignore[call-overload]
        turns = [(turn["role"], turn["content"]) for side in ("prompt", "completion") for turn in row[side]]
        assert turns == [(message.role, message.content) for message in sample.messages]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_script_gives_each_call_its_own_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    calls = [{"name": "wind", "arguments": {"place": "Turku"}}, {"name": "sum", "arguments": {"n": [1, "two"]}}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "u"},
                {"role": "assistant", "tool_calls": [{"function": call}]},
                {"role": "tool", "content": "r"},
                {"role": "assistant", "content": "a"},
            ],
            "tools": [{"name": call["name"], "parameters": {"properties": {call["name"]: {}}}}],
        }
        for call in calls
    ]
    written = write_rows(tmp_path / f"out{suffix}", [json.dumps(row) + "\n" for row in rows])
    made = recipes(shape_of_file(rows), f"out{suffix}", 512, written.json_columns)
    (text,) = (one.text for one in made if one.trainer == "TRL")
    script = text[: text.index("# With a prompt")].replace("from trl import SFTConfig, SFTTrainer\n", "")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(script, scope)
    for row, record in zip(scope["data"], rows, strict=True):  # type: ignore[call-overload]
        assert row["tools"] == record["tools"]
        assert [call["function"] for call in row["prompt"][1]["tool_calls"]] == [
            call["function"]
            for call in record["messages"][1]["tool_calls"]  # type: ignore[index]
        ]
