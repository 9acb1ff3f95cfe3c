"""A folder that `datasets` loads, and an upload to a stand-in for the hub that answers over HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.errors import ExportError
from delift_core.export.publish import push_to_hub, save_to_disk
from delift_core.export.subset_files import export_selection
from delift_core.system.access import Actor
from tests.export.scored import Scored

pytestmark = pytest.mark.slow

ME = Actor("me", "admin")
TOKEN = "hf_" + "x" * 20


class Hub(BaseHTTPRequestHandler):
    """Answers what an upload asks of the hub, and remembers it."""

    seen: list[tuple[str, str, str]] = []
    refuse = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.seen.append((self.path, self.headers.get("authorization", ""), body))
        if self.refuse:
            self._answer(403, {"error": f"no right to write with {TOKEN}"})
        elif "preupload" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif "commit" in self.path:
            self._answer(200, {"commitUrl": f"{self._place()}/commit/1", "commitOid": "1", "success": True})
        else:
            self._answer(200, {"url": self._place(), "name": "o/n", "id": "o/n"})

    def do_GET(self) -> None:
        self._answer(200, {"id": "o/n", "sha": "0" * 40, "siblings": []})

    def _place(self) -> str:
        return f"http://{self.headers['Host']}/datasets/o/n"

    def _answer(self, code: int, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants, hf_api

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", place)
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", place)
    Hub.seen, Hub.refuse = [], False
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "format"), [("out.jsonl", "same"), ("out.parquet", "messages"), ("out.csv", "alpaca")]
)
def test_a_folder_is_loaded_with_every_row(eight: Scored, tmp_path: Path, name: str, format: str) -> None:
    from datasets import load_from_disk

    out, folder = tmp_path / name, tmp_path / "saved"
    export_selection(eight.workspace, eight.selection_id, out, format=format)
    assert save_to_disk(out, folder, actor=ME) == 3 == len(load_from_disk(str(folder)))
    with pytest.raises(ExportError, match="is not empty and is left as it is"):
        save_to_disk(out, folder, actor=ME)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "s3://bucket/x"])
def test_a_folder_is_made_where_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.jsonl").write_text('{"a": "b"}\n')
    assert save_to_disk(tmp_path / "out.jsonl", Path(name), actor=ME) == 1
    assert (tmp_path / name / "dataset_info.json").exists()


def test_rows_of_several_types_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text('[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]\n')
    with pytest.raises(ExportError, match="not objects"):
        save_to_disk(out, tmp_path / "saved", actor=ME)


def test_an_upload_sends_file_manifest_and_card(eight: Scored, tmp_path: Path, hub: type[Hub]) -> None:
    import base64

    out = tmp_path / "out.jsonl"
    export_selection(eight.workspace, eight.selection_id, out)
    assert push_to_hub(out, "o/n", f" {TOKEN} ", actor=ME).endswith("/commit/1")
    assert all(authorization == f"Bearer {TOKEN}" for _, authorization, _ in hub.seen)
    (commit,) = [body for path, _, body in hub.seen if "commit" in path]
    values = [json.loads(line)["value"] for line in commit.splitlines() if '"file"' in line]
    sent = {one["path"]: base64.b64decode(one["content"]) for one in values}
    assert set(sent) == {"out.jsonl", "out.manifest.json", "README.md"} and sent["out.jsonl"] == out.read_bytes()
    assert str(tmp_path).encode() not in b"".join(sent.values()) and TOKEN not in commit
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_refusal_names_no_token(eight: Scored, tmp_path: Path, hub: type[Hub]) -> None:
    out = tmp_path / "out.jsonl"
    export_selection(eight.workspace, eight.selection_id, out)
    hub.refuse = True
    with pytest.raises(ExportError, match="o/n was not uploaded") as refused:
        push_to_hub(out, "o/n", TOKEN, actor=ME)
    assert TOKEN not in str(refused.value)
    for repo, token, words in (("o/n", " ", "token"), ("a/b/c", TOKEN, "not a hub id")):
        with pytest.raises(ExportError, match=words):
            push_to_hub(out, repo, token, actor=ME)


def test_the_command_needs_a_place_and_a_token(
    eight: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    export_selection(eight.workspace, eight.selection_id, out)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["publish", str(out)]) == 2 and "where to publish" in capsys.readouterr().err
    assert main(["publish", str(out), "--hub", "o/n"]) == 2 and "HF_TOKEN" in capsys.readouterr().err
    assert main(["publish", str(out), "--folder", str(tmp_path / "saved")]) == 0
    assert "3 rows for datasets.load_from_disk" in capsys.readouterr().out
