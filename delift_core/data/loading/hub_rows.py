"""Raw records from a data set on the Hugging Face hub, read with the `datasets` library (no remote code).

The hub is asked once, with a short time-out, before `datasets` starts its own slow retries; without a network a cached
copy is used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from delift_core.data.loading.raw_records import RawRecord, check_encoding, dump
from delift_core.data.loading.table_cells import remove_fill
from delift_core.errors import DataError
from delift_core.samples import Problem
from delift_core.system.hub import HUB_FORM, Outcome, first_line, probe

_PLACE = re.compile(r"hub:([\w.-]+/[\w.-]+|[\w.-]+)(?::([\w.\[\]%:+-]+))?")


@dataclass(frozen=True, slots=True)
class HubSplit:
    """One split of a data set on the hub.

    Attributes:
        repo_id: "owner/name".
        config: the configuration, if there are several.
        revision: a branch, tag or commit; the default branch if None.
        limit: stream only so many rows from the start; all rows if None.
    """

    repo_id: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    limit: int | None = None


def parse_hub_name(name: str) -> HubSplit:
    """Reads a name of the form `HUB_FORM`.

    Raises:
        DataError: the name has another form.
    """
    place, _, rest = name.partition(",")
    match = _PLACE.fullmatch(place)
    if match is None:
        raise DataError(f"{name!r} is not understood; write {HUB_FORM}")
    options: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        fits = re.fullmatch(r"[1-9]\d{0,9}", value) if key == "limit" else key in ("config", "revision") and value
        if not fits or key in options:
            raise DataError(f"{part!r} in {name!r} is not understood; write {HUB_FORM}")
        options[key] = value
    limit = int(options["limit"]) if "limit" in options else None
    return HubSplit(match[1], options.get("config"), match[2] or "train", options.get("revision"), limit)


def read_hub(source: HubSplit) -> Iterator[RawRecord | Problem]:
    """Yields the rows of a split.

    Raises:
        DataError: the data set, configuration, split or revision does not exist or may not be read, or the hub cannot
            be reached and nothing usable is cached.
    """
    import pyarrow as pa
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the hub's name for it in every version

    repo_id = source.repo_id
    stream = _is_reachable(repo_id, source.revision) and source.limit is not None
    try:
        rows = load_dataset(repo_id, source.config, split=source.split, revision=source.revision, streaming=stream)
        for number, row in enumerate(map(remove_fill, islice(rows, source.limit)), start=1):
            yield check_encoding(RawRecord(repo_id, number, dump(row), row))
    except (DatasetsError, pa.ArrowException, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise DataError(_explain(source, error)) from error


def _is_reachable(repo_id: str, revision: str | None) -> bool:
    """Whether the hub has the data set; False if the hub cannot be reached but a cached copy can be used."""
    answer = probe("dataset", repo_id, revision)
    if answer.found:
        return True
    # The cache does not know revisions by name, so a pinned revision needs the hub.
    if answer.outcome == "unreachable" and revision is None and _is_cached(repo_id):
        return False
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
