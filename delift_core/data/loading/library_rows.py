"""Raw records from rows in memory and from data sets on the Hugging Face hub.

Rows in memory are a list of dicts, a `datasets.Dataset` or a pandas `DataFrame`, whose library the caller has imported.
The hub is read with the `datasets` library (no remote code). It is asked once, with a short time-out, before `datasets`
starts its own slow retries; without a network a cached copy is used.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from delift_core.data.loading.dataset import HubSplit
from delift_core.data.loading.raw_records import RawRecord, Records, check_encoding, dump
from delift_core.data.loading.tables import remove_fill
from delift_core.errors import DataError
from delift_core.samples import Problem
from delift_core.system.hub import Outcome, first_line, probe


def read_rows(rows: object, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows in order; the first has line 1.

    Args:
        source: what the records name as their source.

    Raises:
        DataError: the rows are none of the three kinds, or one of them cannot be written as JSON.
    """
    for number, row in enumerate(_dicts(rows), start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"row {number - 1} is of type {type(row).__name__}; give every row as a dict")
        try:
            raw = dump(dict(row))
            value = json.loads(raw)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"row {number - 1} cannot be written as JSON ({error}); give plain values") from error
        yield check_encoding(RawRecord(source, number, raw, value))


def kind_of_rows(rows: object) -> str:
    """ "datasets", "pandas" or "dicts"; "" for anything else."""
    names = {f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in type(rows).__mro__}
    if "datasets.Dataset" in names:
        return "datasets"
    if "pandas.DataFrame" in names:
        return "pandas"
    return "dicts" if isinstance(rows, Sequence) and not isinstance(rows, str | bytes) else ""


def _dicts(rows: object) -> Iterable[object]:
    """The rows as dicts, with what their library filled in taken out."""
    table, kind = cast(Any, rows), kind_of_rows(rows)
    if kind == "datasets":
        return map(remove_fill, table)
    if kind == "pandas":
        plain = table.astype(object)
        return cast(Iterable[object], plain.where(table.notna(), None).to_dict("records"))
    if kind == "dicts":
        return cast(Iterable[object], table)
    several = " holds several splits: give one of them," if type(rows).__name__.endswith("DatasetDict") else ""
    raise DataError(
        f"rows of type {type(rows).__name__} cannot be read;{several} give a path, a list of dicts, a "
        "datasets.Dataset or a pandas DataFrame"
    )


def open_hub(split: HubSplit) -> tuple[HubSplit, Records]:
    """A split with the commit that is read, and its rows.

    Raises:
        DataError: the data set or the revision does not exist or may not be read, or the hub cannot be reached and
            nothing usable is cached. Reading the rows raises it for the configuration, the split or the connection.
    """
    repo_id, revision = split.repo_id, split.revision
    answer = probe("dataset", repo_id, split.commit or revision)
    if answer.outcome == "no-revision" and split.commit:  # the history was rewritten: the rows may still be the same
        answer = probe("dataset", repo_id, revision)
    if answer.found:
        pinned = replace(split, commit=answer.commit)
        return pinned, _rows(pinned, answer.commit or revision, stream=split.limit is not None)
    # The cache does not know revisions by name, so a pinned revision needs the hub.
    if answer.outcome == "unreachable" and revision is None and _is_cached(repo_id):
        return replace(split, commit=""), _rows(split, None, stream=False)
    refusals: dict[Outcome, str] = {
        "bad-id": f"{repo_id!r} is not a hub id; write it as owner/name.",
        "no-revision": f"{repo_id} has no revision {revision!r} on the hub; check the branch, tag or commit.",
        "no-repo": f"the hub has no data set {repo_id!r} that you may read; check the id, and set HF_TOKEN if it is "
        "private or gated.",
        "refused": f"the hub refused {repo_id} ({answer.reason}); try later, or load a file.",
        "unreachable": f"the Hugging Face hub cannot be reached for {repo_id} ({answer.reason}); check the network and "
        "HF_HUB_OFFLINE, or download the data set and load it as a file.",
    }
    raise DataError(refusals[answer.outcome]) from answer.error


def _rows(source: HubSplit, revision: str | None, *, stream: bool) -> Records:
    import pyarrow as pa
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the hub's name for it in every version

    repo_id = source.repo_id
    try:
        rows = load_dataset(repo_id, source.config, split=source.split, revision=revision, streaming=stream)
        for number, row in enumerate(map(remove_fill, islice(rows, source.limit)), start=1):
            yield check_encoding(RawRecord(repo_id, number, dump(row), row))
    except (DatasetsError, pa.ArrowException, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise DataError(_explain(source, error)) from error


def _is_cached(repo_id: str) -> bool:
    from datasets import config

    return Path(config.HF_DATASETS_CACHE, repo_id.replace("/", "___")).is_dir()


def _explain(source: HubSplit, error: Exception) -> str:
    from datasets.exceptions import DatasetNotFoundError

    repo_id, reason = source.repo_id, first_line(error)
    if isinstance(error, DatasetNotFoundError):
        return f"{repo_id} may not be read ({reason}); ask for access on its page and set HF_TOKEN."
    if isinstance(error, ConnectionError):
        return f"the connection to the hub broke while reading {repo_id} ({reason}); try again, or load a file."
    named = repo_id + (f", configuration {source.config!r}" if source.config else "") + f", split {source.split!r}"
    return f"{named} cannot be loaded ({reason}); check the configuration and the split, or load a file."
