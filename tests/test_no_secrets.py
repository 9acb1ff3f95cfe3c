"""A marked token goes through every way that takes one, and is then nowhere: no file, no log, no message."""

import json
import logging
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.data.loading import HubSplit, load_hub
from delift_core.errors import DeliftError
from delift_core.export.publish import push_to_hub
from delift_core.export.subset_files import export_selection
from delift_core.workspace import Workspace
from tests.scored import make_scored_workspace

TOKEN = "hf_markedTokenThatMustNotBeKept0123456789"


def test_a_token_is_kept_nowhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)
    folder, out = tmp_path / "work", tmp_path / "work" / "exports" / "out.jsonl"
    make_scored_workspace(folder, tmp_path / "model")
    said = []
    with Workspace.open(folder) as workspace:
        export_selection(workspace, "s1", out)
        for ask in (
            lambda: push_to_hub(out, "o/n", TOKEN, actor=workspace.actor),
            lambda: load_hub(HubSplit("o/n")),
        ):
            with pytest.raises(DeliftError) as refused:
                ask()
            said.append(str(refused.value))
    assert main(["publish", str(out), "--hub", "o/n"]) == 2
    assert main(["doctor", "--workspace", str(folder), "--json"]) in (0, 1)
    printed = capsys.readouterr()
    said += [printed.out, printed.err, caplog.text, json.dumps([r.getMessage() for r in caplog.records])]
    assert not any(TOKEN in words for words in said)
    for path in tmp_path.rglob("*"):
        assert not (path.is_file() and TOKEN.encode() in path.read_bytes()), path
