"""The hub is asked once and quickly; a model that is cached loads without it. No hub is reached by these tests."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delift_core.errors import ModelError
from delift_core.models import loading as models
from delift_core.models.loading import load_model
from delift_core.system import hub
from delift_core.system.hub import Probe, RepoKind, probe
from tests.tiny_models import save_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/tiny"


def cache_model(hub_cache: Path) -> None:
    """A tiny model as a download leaves it in the cache."""
    repo = hub_cache / "models--owner--tiny"
    save_model(repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)


class Hub:
    """A stand-in for both questions; raises `fail` when it is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.fail: Exception | None = None

    def answer(self, kind: str, repo_id: str, revision: str | None, timeout: float) -> None:
        assert 0 < timeout <= 10
        self.asked.append((kind, repo_id, revision))
        if self.fail is not None:
            raise self.fail


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    told = Hub()

    def model_info(self: Any, repo_id: str, *, revision: str | None, timeout: float) -> None:
        told.answer("model", repo_id, revision, timeout)

    def dataset_info(self: Any, repo_id: str, *, revision: str | None, timeout: float) -> None:
        told.answer("dataset", repo_id, revision, timeout)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    return told


def test_each_kind_is_asked_for_once(stand_in: Hub) -> None:
    assert probe("model", "o/n") == Probe("found")
    assert probe("dataset", "o/n", "r").found
    assert stand_in.asked == [("model", "o/n", None), ("dataset", "o/n", "r")]


def failures() -> list[tuple[Exception, str]]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    answer = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid/x"))
    return [
        (HFValidationError("bad"), "bad-id"),
        (RepositoryNotFoundError("404", response=answer), "no-repo"),
        (GatedRepoError("403", response=answer), "no-repo"),
        (RevisionNotFoundError("404", response=answer), "no-revision"),
        (HfHubHTTPError("503", response=answer), "refused"),
        (OfflineModeIsEnabled("offline"), "unreachable"),
        (httpx.ConnectTimeout("slow"), "unreachable"),
        (httpx.ConnectError("no route"), "unreachable"),
        (ConnectionError("no route"), "unreachable"),
    ]


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_answers_are_told_apart(kind: RepoKind, stand_in: Hub) -> None:
    for error, outcome in failures():
        stand_in.fail = error
        assert probe(kind, "o/n") == Probe(outcome, error)
        assert not probe(kind, "o/n").found


def test_reasons_are_one_short_line() -> None:
    assert Probe("unreachable", OSError("first\nsecond")).reason == "first"
    assert Probe("unreachable", OSError("x" * 900)).reason == "x" * 200
    assert Probe("unreachable", OSError()).reason == "OSError"
    assert Probe("found").reason == ""


@pytest.fixture
def from_pretrained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """What the library is told of the network; it finds nothing."""
    import transformers

    told: list[bool] = []

    def refuse(name: str, *, local_files_only: bool, **settings: Any) -> None:
        told.append(local_files_only)
        raise OSError("not there")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    yield told


def test_a_model_is_fetched_only_when_the_hub_has_it(stand_in: Hub, from_pretrained: list[bool]) -> None:
    with pytest.raises(ModelError):
        load_model("owner/other", device="cpu")
    assert from_pretrained == [False]
    assert stand_in.asked == [("model", "owner/other", None)]
    for error, _ in failures():
        stand_in.fail = error
        with pytest.raises(ModelError, match="neither in the local cache nor on the hub"):
            load_model("owner/other", device="cpu")
    assert from_pretrained == [False] + [True] * len(failures())


def test_a_folder_is_loaded_without_asking(stand_in: Hub, tmp_path: Path) -> None:
    load_model(str(save_model(tmp_path)), device="cpu")
    assert stand_in.asked == []


LOADS = """
import sys, time
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from delift_core.errors import ModelError
from delift_core.models.loading import load_model
started = time.monotonic()
try:
    load_model("nobody/nothing-of-the-kind", device="cpu")
except ModelError as error:
    print(error)
print(time.monotonic() - started)
started = time.monotonic()
print(load_model("owner/tiny", device="cpu").identity.revision)
print(time.monotonic() - started)
"""


@pytest.mark.slow
def test_without_a_network_unknown_models_are_refused_soon_and_cached_ones_load(tmp_path: Path) -> None:
    cache_model(tmp_path / "hub")
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{nobody_listens.getsockname()[1]}",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
            "HF_HUB_CACHE": str(tmp_path / "hub"),
        }
        root = Path(models.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", LOADS], env=environment, cwd=root, capture_output=True, text=True, timeout=250
        )
    assert done.returncode == 0, done.stderr
    refused, took, revision, loading = done.stdout.splitlines()
    assert refused.startswith(
        "model 'nobody/nothing-of-the-kind' could not be loaded: it is neither in the local cache"
    )
    assert revision == COMMIT
    # The hub's client would go on for most of a minute.
    assert float(took) < 4 * hub.PROBE_SECONDS and float(loading) < 4 * hub.PROBE_SECONDS
