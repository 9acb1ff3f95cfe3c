"""Samples: immutable training rows with stable ids.

A sample is a conversation that ends with the assistant turn to learn, and the raw record that it was read from. This
module knows nothing of files, formats of records, tokenizers or databases.

A turn keeps its thoughts and tool calls apart from its text. Thoughts that are written inside the text, between
`<think>` and `</think>`, stay there, because trainers give them to the chat template that way.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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
    "unnamed-call",
    "bad-tools",
    "no-thoughts",
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
class ToolCall:
    """A call of a function by the assistant.

    Attributes:
        name: of the function.
        arguments: as JSON text, or as the text that the record has in its place.
        id: by which a tool turn refers to the call; "" if the record has none.
    """

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        content: the text; of a turn that only calls tools, the calls as JSON (`calls_text`).
        trained: False for a turn that its record flags as context only. Used while a record is read; it does not count
            when messages are compared.
        thoughts: reasoning from a field of its own, such as `reasoning_content`; not what the text itself has between
            `<think>` and `</think>`.
        calls: tool calls of an assistant turn.
        call_id: of a tool turn, the call that it answers; "" if the record does not say.
        name: of a tool turn, the function that it comes from; "" if the record does not say.
    """

    role: Role
    content: str
    trained: bool = field(default=True, compare=False, repr=False)
    thoughts: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is written in the turn: its text, its thoughts, and its calls as JSON text."""
        calls = calls_text(self.calls) if self.calls else ""
        return tuple(text for text in (self.thoughts, self.content, calls if calls != self.content else "") if text)

    @property
    def only_calls(self) -> bool:
        """Whether the turn has tool calls and no text."""
        return bool(self.calls) and self.content == calls_text(self.calls)


def calls_text(calls: Sequence[ToolCall]) -> str:
    """Tool calls as JSON text: one as an object with name and arguments, several as a list of such objects."""
    known = [{"name": call.name, "arguments": json_or_text(call.arguments)} for call in calls]
    return json.dumps(known[0] if len(known) == 1 else known, ensure_ascii=False)


def json_or_text(text: str) -> object:
    """The value of a JSON text; the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def labelled_texts(message: Message) -> tuple[str, ...]:
    """All that is written in a turn, for display as text: thoughts and calls beside a text begin with what they are."""
    thoughts = (f"(thoughts) {message.thoughts}",) if message.thoughts else ()
    calls = (f"(calls) {calls_text(message.calls)}",) if message.calls and not message.only_calls else ()
    return (*thoughts, message.content, *calls)


ScoredPart = Literal["turn", "answer", "thoughts"]
"""The part of the last assistant turn that is scored: all of it, the answer without the thoughts, or the thoughts."""

_THOUGHTS = re.compile(r"(?:^\s*<(?P<mark>think|thinking)>)?(?P<thoughts>.*?)</(?(mark)(?P=mark)|think)>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class InlineThoughts:
    """Where a text has its thoughts, and where its answer begins: positions in characters."""

    start: int
    end: int
    answer: int


def inline_thoughts(text: str) -> InlineThoughts | None:
    """The thoughts that a text begins with, up to `</think>`; None if there are none."""
    found = _THOUGHTS.match(text)
    if found is None or not found["thoughts"].strip():
        return None
    return InlineThoughts(found.start("thoughts"), found.end("thoughts"), found.end())


def has_thoughts(message: Message) -> bool:
    """Whether a turn has thoughts, in a field of its own or inside its text."""
    return bool(message.thoughts) or inline_thoughts(message.content) is not None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model reads of a sample.

    Attributes:
        messages: the turns; the last is the assistant turn that is scored.
        tools: the tool definitions of the record, a JSON list as text; "" if there are none.
        scored: the part of the last turn that is scored.
    """

    messages: tuple[Message, ...]
    tools: str = ""
    scored: ScoredPart = "turn"


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
        content_hash: SHA-256 (hex) of the conversation.
        tools, scored: see `Conversation`.
    """

    id: str
    messages: tuple[Message, ...]
    raw: str
    source: str
    line: int
    content_hash: str
    tools: str = ""
    scored: ScoredPart = "turn"

    @property
    def conversation(self) -> Conversation:
        """What a model reads of the sample."""
        return Conversation(self.messages, self.tools, self.scored)

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
    tools: str = ""
    scored: ScoredPart = "turn"

    def as_sample(self, sample_id: str) -> Sample:
        """The sample with an id."""
        digest = hash_conversation(Conversation(self.messages, self.tools, self.scored))
        return Sample(sample_id, self.messages, self.raw, self.source, self.line, digest, self.tools, self.scored)


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
        sample = record.as_sample("")
        stem = sample.content_hash[:12]
        seen[stem] = seen.get(stem, 0) + 1
        samples.append(replace(sample, id=stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"))
    return tuple(samples)


def hash_conversation(conversation: Conversation) -> str:
    """SHA-256 (hex) of a conversation; of one that is plain text, of its roles and texts alone."""
    turns = [[m.role, m.content, *_structure(m)] for m in conversation.messages]
    others = {"tools": conversation.tools} if conversation.tools else {}
    others |= {"scored": conversation.scored} if conversation.scored != "turn" else {}
    return sha256_of(json.dumps([*turns, *([others] if others else [])], ensure_ascii=True, separators=(",", ":")))


def _structure(message: Message) -> list[dict[str, object]]:
    """What a message has beside its role and text: at most one object."""
    if not (message.thoughts or message.calls or message.call_id or message.name):
        return []
    calls = [[call.name, call.arguments, call.id] for call in message.calls]
    found = (("thoughts", message.thoughts), ("calls", calls), ("call_id", message.call_id), ("name", message.name))
    kept: dict[str, object] = {name: value for name, value in found if value}
    return [kept] if kept else []


def sha256_of(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
