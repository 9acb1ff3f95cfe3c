"""The hub as a source, without a hub: rows, limits, cache, reading again, and one line for each way to fail."""

import pytest

from delift_core.cli.sources import load_source
from delift_core.data.loading import (
    HubSplit,
    Origin,
    ReadOptions,
    load_bytes,
    load_hub,
    load_rows,
    read_columns_of_hub,
)
from delift_core.errors import DataError


def test_hub_rows_become_samples(hub):
    data = load_hub(HubSplit("o/n", config="c", split="test", revision="r", limit=3))
    assert hub["calls"] == [("o/n", "c", "test", "r", True)]
    assert (data.name, data.format, [s.line for s in data.samples]) == ("o/n", "columns", [1, 2, 3])
    assert data.samples[0].raw == '{"question": "q0", "answer": "a"}' and data.samples[0].source == "o/n"
    assert len(load_hub(HubSplit("o/n"))) == 5 and hub["calls"][-1] == ("o/n", None, "train", None, False)
    assert read_columns_of_hub(HubSplit("o/n"), limit=2).columns == ("question", "answer")


def test_an_unreachable_hub_is_refused_at_once_unless_the_data_set_is_cached(hub, monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    hub["fail"] = ConnectionError("no route")
    with pytest.raises(DataError, match="cannot be reached.*no route.*load it as a file"):
        load_hub(HubSplit("o/n"))
    assert hub["calls"] == []
    (tmp_path / "o___n").mkdir()
    assert len(load_hub(HubSplit("o/n", limit=2))) == 2
    assert hub["calls"] == [("o/n", None, "train", None, False)]
    with pytest.raises(DataError, match="cannot be reached"):
        load_hub(HubSplit("o/n", revision="pinned"))


def test_hub_failures_are_one_line(hub):
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    failures = [
        (ValueError("Unknown split 'x'.\nShould be one of train"), "Unknown split 'x'"),
        (DatasetNotFoundError("gated"), "HF_TOKEN"),
        (ConnectionError("broke"), "try again"),
        (DatasetGenerationError("bad file"), "cannot be loaded"),
        (RuntimeError("Dataset scripts are no longer supported"), "scripts"),
    ]
    for error, words in failures:
        hub["load"] = error
        with pytest.raises(DataError) as caught:
            load_hub(HubSplit("o/n"))
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_hub_probe_tells_unknown_ids_from_unknown_revisions(hub):
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx

    answer = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid/x"))
    failures = [
        (HFValidationError("bad"), "owner/name"),
        (RepositoryNotFoundError("404", response=answer), "HF_TOKEN"),
        (RevisionNotFoundError("404", response=answer), "no revision 'r'"),
    ]
    for error, words in failures:
        hub["fail"] = error
        with pytest.raises(DataError, match=words):
            load_hub(HubSplit("o/n", revision="r"))
    assert hub["calls"] == []


def test_offline_mode_is_refused_by_the_real_probe():
    with pytest.raises(DataError, match="cannot be reached"):
        load_hub(HubSplit("owner/surely-not-cached-here"))


def test_the_command_line_names_everything_a_hub_set_needs(hub):
    data = load_source("hub:o/n:test,config=c,revision=r,limit=2", None)
    assert hub["calls"] == [("o/n", "c", "test", "r", True)] and len(data) == 2
    for wrong in ("hub:o/n,limit=0", "hub:o/n,limit=2,limit=3", "hub:o/n,size=2", "hub:o/n,config=", "hub:o/n,x"):
        with pytest.raises(DataError, match="write hub:owner/name"):
            load_source(wrong, None)


def test_the_commit_that_was_read_is_read_again(hub):
    then = "a" * 40
    hub["commit"] = then
    read = load_hub(HubSplit("o/n", revision="r", limit=2), ReadOptions(turns="every"))
    assert read.origin == Origin(
        "hub", "o/n", ReadOptions(turns="every"), HubSplit("o/n", None, "train", "r", 2, commit=then)
    )
    hub["commit"] = "b" * 40
    again = read.origin.load()
    assert (again, again.origin) == (read, read.origin)
    assert [call[3] for call in hub["calls"]] == [then, then]


def test_where_the_commit_is_gone_or_the_hub_is_the_rows_of_today_are_read(hub, monkeypatch, tmp_path):
    import datasets
    from huggingface_hub.errors import RevisionNotFoundError
    from huggingface_hub.utils import httpx

    hub["commit"] = "a" * 40
    origin = load_hub(HubSplit("o/n")).origin
    answer = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid/x"))
    hub["commit"], hub["fail"] = "b" * 40, {"a" * 40: RevisionNotFoundError("404", response=answer)}
    assert origin.load().origin.split.commit == "b" * 40
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    hub["fail"] = ConnectionError("no route")
    with pytest.raises(DataError, match="cannot be reached"):
        origin.load()
    (tmp_path / "o___n").mkdir()
    assert origin.load().origin.split.commit == ""


def test_what_has_no_source_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="rows in memory cannot be read again; save the rows as a file"):
        load_rows([{"question": "q", "answer": "a"}]).origin.load()
    upload = load_bytes(b'{"question": "q", "answer": "a"}', "x.jsonl")
    with pytest.raises(
        DataError, match=rf"x.jsonl was uploaded.*put x.jsonl \(SHA-256 {upload.origin.sha256}\) beside"
    ):
        upload.origin.load(tmp_path)
    (tmp_path / "x.jsonl").write_bytes(b'{"question": "q", "answer": "a"}')
    assert upload.origin.load(tmp_path) == upload
