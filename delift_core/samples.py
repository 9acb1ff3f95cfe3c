"""Samples: immutable training rows with stable ids.

A sample is a conversation that ends with the assistant turn to learn, and the raw record that it was read from. This
module knows nothing of files, formats of records, tokenizers or databases.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
# A "preference" record is read only as "preference-chosen" or "preference-rejected".
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
ExportFormat = Literal["same", "alpaca", "sharegpt", "messages", "prompt-completion"]
"""The formats of an export; "same" keeps the raw records."""
Formulas = Literal["keep", "quote"]
"""What CSV does with a text that a spreadsheet would run as a formula."""
Turns = Literal["last", "every"]
"""The assistant turns that are scored: the last, or each as a sample of its own, given all turns before it."""
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
# Problems and issues that can be fixed automatically, see `quality.cleaning`.
FixableKind = Literal[
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
        trained: False for a turn that its record flags as context only. Used while a record is read; it does not count
            when messages are compared.
    """

    role: Role
    content: str
    trained: bool = field(default=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The columns of a table with the prompt, the response and optionally a system text.

    Attributes:
        parts: columns whose texts are appended to the prompt, in this order, such as a context.
    """

    prompt: str
    response: str
    system: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One training row.

    Attributes:
        id: unique in its data set and stable: the start of `content_hash`, with "-2", "-3"… for repeats.
        messages: the conversation; the last message is the assistant turn that is scored.
        raw: the record as one line of JSON, byte for byte but for the whitespace between tokens.
        source: name of the file or hub data set.
        line: 1-based line (JSONL) or record number (all other formats) in the source.
        content_hash: SHA-256 (hex) of the messages.
    """

    id: str
    messages: tuple[Message, ...]
    raw: str
    source: str
    line: int
    content_hash: str

    @property
    def place(self) -> str:
        """The position in the source for display: "row 48", the number of its line or record."""
        return f"row {self.line}"

    @property
    def response(self) -> str:
        """The text of the last assistant turn."""
        return self.messages[-1].content

    @property
    def prompt(self) -> str:
        """The text of the last user turn, for display."""
        turns = [m.content for m in self.messages[:-1] if m.role == "user"]
        return turns[-1] if turns else ""


def line_unit(sources: Iterable[str]) -> Literal["line", "row"]:
    """The unit of `Problem.line` in some sources: "line" if all of them are files of JSON lines, else "row"."""
    return "line" if all(_OF_LINES.search(source) for source in sources) else "row"


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be used, or a file of a folder that is not read: what is wrong, where, and what to do.

    Attributes:
        line: as in `Sample`; 0 for a whole file.
        excerpt: the start of the record's text.
        raw: the text of the record on one line, with replacement characters for invalid ones; "" for a file.
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
class ParsedRecord:
    """A record that was parsed, without an id."""

    messages: tuple[Message, ...]
    raw: str
    source: str
    line: int

    def as_sample(self, sample_id: str) -> Sample:
        """The sample with an id."""
        return Sample(sample_id, self.messages, self.raw, self.source, self.line, hash_messages(self.messages))


def positions_by_record(samples: Sequence[Sample]) -> tuple[tuple[int, ...], ...]:
    """Positions of the samples of each record; several if every assistant turn is a sample."""
    found: dict[tuple[str, int], list[int]] = {}
    for position, sample in enumerate(samples):
        found.setdefault((sample.source, sample.line), []).append(position)
    return tuple(map(tuple, found.values()))


def with_ids(records: Iterable[ParsedRecord]) -> tuple[Sample, ...]:
    """Makes samples, with ids that are unique in the sequence and the same each time a source is loaded."""
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
    return sha256_of(json.dumps([[m.role, m.content] for m in messages], ensure_ascii=True, separators=(",", ":")))


def sha256_of(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
