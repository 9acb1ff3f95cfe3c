"""A data set: its samples, where they came from and how they were read."""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from delift_core.data.formats.preference import Answer
from delift_core.data.loading.raw_records import Watch
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, FixableKind, FormatName, Problem, Sample, ScoredPart, Turns, sha256_of
from delift_core.system.hub import HUB_FORM, HUB_PREFIX

OriginKind = Literal["file", "upload", "hub", "memory"]
IN_MEMORY = "rows in memory"
UPLOAD_PREFIX = "upload:"
_PLACE = re.compile(r"hub:([\w.-]+/[\w.-]+|[\w.-]+)(?::([\w.\[\]%:+-]+))?")


@dataclass(frozen=True, slots=True)
class HubSplit:
    """One split of a data set on the hub.

    Attributes:
        repo_id: "owner/name".
        config: the configuration, if there are several.
        revision: a branch, tag or commit; the default branch if None.
        limit: stream only so many rows from the start; all rows if None.
        commit: the commit that was read; "" before the hub was asked, and for a cached copy.
    """

    repo_id: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    limit: int | None = None
    commit: str = ""

    @classmethod
    def parse(cls, name: str) -> "HubSplit":
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
            options[key] = unquote(value)
        limit = int(options["limit"]) if "limit" in options else None
        return cls(match[1], options.get("config"), match[2] or "train", options.get("revision"), limit)

    def __str__(self) -> str:
        more = {"config": self.config, "revision": self.revision, "limit": self.limit}
        told = (f",{key}={_escaped(str(value))}" for key, value in more.items() if value)
        return f"{HUB_PREFIX}{self.repo_id}:{self.split}{''.join(told)}"


def _escaped(value: str) -> str:
    return value.replace("%", "%25").replace(",", "%2C")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a source.

    Attributes:
        mapping: the columns of the prompt and the response; None detects the format of each record.
        answer: the answers of preference records to learn; None makes such a record a problem.
        turns: "every" makes a sample of each assistant turn, given all turns before it; prompts of prompt/completion
            and preference records are not trained, so these stay one sample.
        scored: the part of an answer with thoughts that is scored; an answer without thoughts is scored whole, and is
            a problem if only thoughts are.
        text_only: read roles and texts alone, without thoughts, tool calls and tools, as earlier versions did.
    """

    mapping: ColumnMapping | None = None
    answer: Answer | None = None
    turns: Turns = "last"
    scored: ScoredPart = "turn"
    text_only: bool = False


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a data set came from and how it was read; `str` gives the place as manifests and pages name it.

    Attributes:
        kind: "file" is a folder as well; "memory" is everything that is not read from a source.
        name: path, name of the uploaded file, id on the hub, or a description.
        options: how the records were read; None if an earlier version stored the data set and did not record it.
        split: what was read of a data set on the hub.
        sha256: of an uploaded file's bytes (hex).
    """

    kind: OriginKind
    name: str
    options: ReadOptions | None = None
    split: HubSplit | None = None
    sha256: str = ""

    @classmethod
    def parse(cls, text: str, options: ReadOptions | None = None, *, sha256: str = "", commit: str = "") -> "Origin":
        """The origin from its text, with what the text does not hold."""
        if text.startswith(UPLOAD_PREFIX):
            return cls("upload", text.removeprefix(UPLOAD_PREFIX), options, sha256=sha256)
        if text.startswith(HUB_PREFIX):
            with suppress(DataError):  # earlier versions stored some names that are not understood
                split = replace(HubSplit.parse(text), commit=commit)
                return cls("hub", split.repo_id, options, split)
        return cls("memory" if text in ("", IN_MEMORY) else "file", text, options)

    def __str__(self) -> str:
        return f"{UPLOAD_PREFIX}{self.name}" if self.kind == "upload" else str(self.split or self.name)

    def find(self, beside: Path | None = None) -> Path | None:
        """The file or folder at its path, or of that name in the folder `beside`; None if there is none.

        An uploaded file has no path and is only looked for beside.
        """
        candidates = [Path(self.name)] if self.kind == "file" else []
        if beside is not None and self.kind in ("file", "upload") and Path(self.name).name:
            candidates.append(beside / Path(self.name).name)
        try:
            return next((path for path in candidates if path.is_file() or (path.is_dir() and path.is_absolute())), None)
        except OSError:  # a name that is too long or has invalid bytes
            return None

    def load(self, beside: Path | None = None, watch: Watch | None = None) -> "Dataset":
        """Reads the source, again or for the first time, as `options` say.

        Args:
            beside: a folder in which a file is looked for that is not at its path.
            watch: called with the progress every thousand rows; an exception that it raises stops the loading.

        Returns:
            The data set, without the choices made since; its origin is where it was found.

        Raises:
            DataError: the source cannot be found, read or reached, or no record is usable.
        """
        from delift_core.data.loading.load import load_file, load_hub  # they make data sets

        options = self.options or DEFAULT_OPTIONS
        if self.split is not None:
            return load_hub(self.split, options, watch=watch)
        if self.kind == "memory":
            raise DataError(f"{self.name or IN_MEMORY} cannot be read again; save the rows as a file, and load that")
        path = self.find(beside)
        if path is None and self.kind == "upload":
            digest = f" (SHA-256 {self.sha256})" if self.sha256 else ""
            raise DataError(f"{self.name} was uploaded and has no path; put {self.name}{digest} beside the manifest")
        return load_file(path or Path(self.name), options, watch=watch)


@dataclass(frozen=True, slots=True)
class Choice:
    """One step of cleaning a data set: all records of a class fixed, or rows left out.

    Attributes:
        remedy: the class that was fixed; None if rows were left out.
        sample_ids: the rows that were left out.
        reason: why, without a full stop.
    """

    remedy: FixableKind | None
    sample_ids: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Dataset:
    """Samples in file order, and the records that were left out.

    Attributes:
        turns: "every" if each assistant turn of a record is a sample; the last of them is the whole conversation.
        choices: the cleaning steps since the source was read, in order; they can be repeated on the same source.
        origin: where it was read; not compared.
    """

    name: str
    format: FormatName
    mapping: ColumnMapping | None
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    turns: Turns = "last"
    choices: tuple[Choice, ...] = ()
    origin: Origin = field(default=Origin("memory", IN_MEMORY), compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def files_not_read(self) -> tuple[Problem, ...]:
        """The problems about files of a folder that are not read."""
        return tuple(problem for problem in self.problems if problem.kind == "file-not-read")

    @property
    def records_left_out(self) -> int:
        """The number of records that could not be used."""
        return len(self.problems) - len(self.files_not_read)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) over the samples' content hashes in order."""
        return sha256_of("\n".join(sample.content_hash for sample in self.samples))
