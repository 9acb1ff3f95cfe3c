"""Ten rows with thoughts and ten with tools, through a workspace into every format, and checked by their manifest."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.data.loading import ReadOptions, load_file
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.samples import Conversation, ExportFormat, Sample
from delift_core.workspace import Workspace
from tests.export.scored import Scored, clock, scored

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ("reasoning", "tools")


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scored]:
    lines = (FIXTURES / f"{request.param}.jsonl").read_text(encoding="utf-8").splitlines()
    with Workspace.open(tmp_path / "work") as workspace:
        yield scored(workspace, tmp_path / f"{request.param}.jsonl", lines, budget="10")


def test_what_is_read_of_the_rows() -> None:
    reasoning, tools = (load_file(FIXTURES / f"{name}.jsonl") for name in NAMES)
    assert not reasoning.problems and not tools.problems
    assert sum(bool(one.messages[-1].thoughts) for one in reasoning.samples) == 8
    assert [len(one.messages[-1].calls) for one in tools.samples] == [0, 1, 2, 1, 0, 1, 1, 0, 0, 0]
    assert sum(bool(one.tools) for one in tools.samples) == 9
    as_text, as_object = tools.samples[0].messages[1].calls[0], tools.samples[1].messages[-1].calls[0]
    assert (as_text.arguments, as_object.arguments) == ('{"city":"Oslo"}', '{"zone": "Asia/Tokyo"}')
    assert [one.line for one in (*reasoning.samples, *tools.samples)] == [*range(1, 11)] * 2
    assert len({one.content_hash for one in (*reasoning.samples, *tools.samples)}) == 20


@pytest.mark.parametrize("format", ["same", "messages", "sharegpt", "prompt-completion"])
def test_every_format_reads_as_what_was_chosen_and_verifies(made: Scored, format: ExportFormat, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    manifest = export_selection(made.workspace, made.selection_id, out, format=format, clock=clock)
    assert read_manifest(tmp_path / "out.manifest.json") == manifest
    assert all(check.ok for check in verify(tmp_path / "out.manifest.json"))
    source, written = load_file(made.pool_file).samples, load_file(out).samples
    if format == "same":
        assert out.read_text(encoding="utf-8").splitlines() == list(made.lines)
    if format == "sharegpt":  # holds no ids, no calls beside a text, and arguments as JSON values
        assert [_without_calls(one) for one in written] == [_without_calls(one) for one in source]
    else:
        assert [one.conversation for one in written] == [one.conversation for one in source]
    changed = {row.line for row in manifest.rows if row.written_hash}
    assert changed == ({1, 3, 4, 7} if format == "sharegpt" and made.pool_file.stem == "tools" else set())


def _without_calls(sample: Sample) -> tuple[object, ...]:
    turns = [(one.role, one.content, one.thoughts, one.call_id, one.name) for one in sample.messages]
    return (*turns, sample.tools, sample.messages[-1].only_calls)


def test_a_changed_call_is_noticed(made: Scored, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    export_selection(made.workspace, made.selection_id, out, format="messages", clock=clock)
    text = out.read_text(encoding="utf-8")
    other = text.replace("Oslo", "Bergen").replace("Another 35 minutes", "Another 30 minutes")
    assert other != text
    out.write_text(other, encoding="utf-8")
    failed = {check.label: check.detail for check in verify(tmp_path / "out.manifest.json") if not check.ok}
    assert failed["Rows are the pool's"].startswith("line 1 is not the conversation of pool row")


def test_alpaca_says_what_it_cannot_hold(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    assert main(["convert", str(FIXTURES / "reasoning.jsonl"), "--format", "alpaca", "--out", str(out)]) == 0
    assert "in 7 rows thoughts are left out" in capsys.readouterr().err
    assert all(one.conversation == Conversation(one.messages) for one in load_file(out).samples if one.line != 8)
    assert main(["convert", str(FIXTURES / "tools.jsonl"), "--format", "alpaca", "--out", str(out)]) != 0
    assert "is a tool turn, which an Alpaca record cannot hold" in capsys.readouterr().err


def test_a_manifest_of_an_earlier_version_is_read_as_it_was_written(made: Scored, tmp_path: Path) -> None:
    """Version 1 had texts alone, and did not say so."""
    before = scored_as_text(made, tmp_path)
    path = tmp_path / "before.manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["version"] = 1
    for entry in document["inputs"]:
        del entry["options"]["text_only"], entry["options"]["scored"]
    path.write_text(json.dumps(document), encoding="utf-8")
    manifest = read_manifest(path)
    assert manifest.pool.load(path).content_hash == before
    assert all(check.ok for check in verify(path))


def scored_as_text(made: Scored, folder: Path) -> str:
    """Exports the pool as an earlier version read it; returns the hash of its conversations."""
    with Workspace.open(folder / "earlier") as workspace:
        again = scored(workspace, made.pool_file, (), options=ReadOptions(text_only=True), budget="10")
        export_selection(workspace, again.selection_id, folder / "before.jsonl", format="messages", clock=clock)
        return workspace.datasets.records()[0].content_hash
