"""Samples and data sets: immutable training rows with stable ids.

A sample is a conversation that ends with the assistant turn to be learnt, plus the raw record it came from, kept
verbatim. This module knows nothing of files, wire formats, tokenizers or databases.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
# "preference" is recognised but not read until it is said which answer is to be learnt.
FormatName = Literal[
    "alpaca",
    "sharegpt",
    "messages",
    "prompt-completion",
    "columns",
    "preference",
    "preference-chosen",
    "preference-rejected",
    "chat-text",
    "text",
    "mt-bench",
]
# Which assistant turns of a conversation are scored: the last, or each as a sample of its own, given all before it.
ExportFormat = Literal["same", "alpaca", "sharegpt", "messages", "prompt-completion"]
"""What a subset can be written as."""
Formulas = Literal["keep", "quote"]
"""What becomes of a text that a spreadsheet would run as a formula."""
Turns = Literal["last", "every"]
ProblemKind = Literal[
    "not-json",
    "not-an-object",
    "unknown-format",
    "unknown-role",
    "empty-prompt",
    "empty-response",
    "not-text",
    "no-assistant-turn",
    "not-trained",
    "bad-encoding",
    "cut-short",
    "no-choice",
    "other-answer",
    "left-out-by-choice",
    "file-not-read",
]
# What can be mended by itself; see `remedies`.
Mendable = Literal[
    "not-text",
    "bad-encoding",
    "repeated-prompt",
    "repeated-id",
    "template-residue",
    "personal-data",
    "encoding-damage",
    "odd-turns",
    "trailing-turns",
]

_OF_LINES = re.compile(r"\.(jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        trained: False for a turn that its record marks as context only. It is known while a record is read, and is no
            part of the conversation: messages that differ in it alone are equal.
    """

    role: Role
    content: str
    trained: bool = field(default=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which columns of a table hold the prompt, the response and (optionally) a system text.

    Attributes:
        parts: further columns of the prompt, such as a context; their texts stand behind the prompt's, in this order.
    """

    prompt: str
    response: str
    system: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One training row.

    Attributes:
        id: stable within its data set: the start of `content_hash`, with "-2", "-3"… for exact repeats.
        messages: the conversation; the last message is the assistant turn that is scored and trained on.
        raw: the record as found, one line of JSON; whitespace between tokens aside, byte for byte.
        source: name of the file or hub data set it came from.
        line: 1-based line (JSONL) or record number (JSON array, CSV, Parquet) in the source.
        content_hash: SHA-256 (hex) of the messages; equal for equal conversations.
    """

    id: str
    messages: tuple[Message, ...]
    raw: str
    source: str
    line: int
    content_hash: str

    @property
    def place(self) -> str:
        """What to call it in its source: "row 48", the number of its line or record."""
        return f"row {self.line}"

    @property
    def response(self) -> str:
        """The text of the last assistant turn."""
        return self.messages[-1].content

    @property
    def prompt(self) -> str:
        """The text of the last user turn before the response (for display)."""
        turns = [m.content for m in self.messages[:-1] if m.role == "user"]
        return turns[-1] if turns else ""


def place_word(sources: Iterable[str]) -> Literal["line", "row"]:
    """What a `Problem.line` counts in some sources: lines of text, or, where any is no file of lines, records."""
    return "line" if all(_OF_LINES.search(source) for source in sources) else "row"


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be used, or a file of a folder that is not read: what is wrong, where, and what to do.

    Attributes:
        line: of the record, see `Sample`; 0 for a whole file.
        excerpt: the start of its text.
        raw: its whole text on one line, what UTF-8 cannot hold replaced; "" where there is none to show.
    """

    kind: ProblemKind
    source: str
    line: int
    field: str
    message: str
    remedy: str
    excerpt: str
    raw: str = ""

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        field = f", field {self.field!r}" if self.field else ""
        return f"{self.source}{line}{field}: {self.message}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a curator chose for a data set once it was read: records mended, or rows left out.

    Attributes:
        remedy: the class that was mended in all its records; None where rows were left out.
        sample_ids: the rows that were left out.
        reason: why they were, without a full stop.
    """

    remedy: Mendable | None
    sample_ids: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Dataset:
    """Samples in file order, with the records that were left out and why.

    Attributes:
        turns: whether a record is one sample, or as many as it has assistant turns; the last of these is the whole
            conversation.
        choices: what was chosen since the source was read, in order; the same on the same source gives the same.
    """

    name: str
    format: FormatName
    mapping: ColumnMapping | None
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    turns: Turns = "last"
    choices: tuple[Choice, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def files_not_read(self) -> tuple[Problem, ...]:
        """A problem for each file of a folder that is not read."""
        return tuple(problem for problem in self.problems if problem.kind == "file-not-read")

    @property
    def records_left_out(self) -> int:
        """How many records could not be used."""
        return len(self.problems) - len(self.files_not_read)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) over the samples' content hashes in order."""
        return _sha256("\n".join(sample.content_hash for sample in self.samples))


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A usable record before it has an id."""

    messages: tuple[Message, ...]
    raw: str
    source: str
    line: int

    def as_sample(self, sample_id: str) -> Sample:
        """The sample that it is, under an id."""
        return Sample(sample_id, self.messages, self.raw, self.source, self.line, hash_messages(self.messages))


def by_record(samples: Sequence[Sample]) -> tuple[tuple[int, ...], ...]:
    """Positions of the samples of each record, in order; several where every assistant turn is a sample."""
    found: dict[tuple[str, int], list[int]] = {}
    for position, sample in enumerate(samples):
        found.setdefault((sample.source, sample.line), []).append(position)
    return tuple(map(tuple, found.values()))


def with_ids(records: Iterable[ParsedRecord]) -> tuple[Sample, ...]:
    """Gives each record its content hash and an id that is unique within the sequence and stable across loads."""
    seen: dict[str, int] = {}
    samples = []
    for record in records:
        digest = hash_messages(record.messages)
        stem = digest[:12]
        seen[stem] = seen.get(stem, 0) + 1
        sample_id = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
        samples.append(Sample(sample_id, record.messages, record.raw, record.source, record.line, digest))
    return tuple(samples)


def hash_messages(messages: Sequence[Message]) -> str:
    """SHA-256 (hex) of a conversation."""
    return _sha256(json.dumps([[m.role, m.content] for m in messages], ensure_ascii=True, separators=(",", ":")))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
