"""What a curator should look at in the rows that could be read: classes of problems, each with its rows and a remedy.

A finding is a hint, found by patterns in the text, and no row is changed or left out because of one. Records that
could not be read at all are the loader's `Problem`s. Knows samples; knows nothing of files, models or pages.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from delift_core.data.formats import detect_format
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.tool_calls import has_calls
from delift_core.data.formats.vocabulary import ROLES
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.raw_records import REPORT_ROWS, Progress, Watch
from delift_core.samples import FormatName, Sample, by_record

# Of chat and prompt templates: what a model would learn to write out.
MARKERS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|begin_of_text|start_header_id|end_header_id|user|assistant|end)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^###? ?(?:Instruction|Response|Human|Assistant) ?:|<noinput>",
    re.IGNORECASE | re.MULTILINE,
)
PLACEHOLDERS = re.compile(
    r"\{\{\s*[\w.\- ]{1,40}\s*\}\}|\{%.{1,60}?%\}|\[(?:your|insert|add) [\w ]{1,30}\]", re.IGNORECASE
)
REFUSAL = re.compile(
    r"\s*(?:i['’]?m (?:very |really )?sorry,? but|i apologi[sz]e,? but|sorry,? (?:but )?i (?:can|am)"
    r"|i (?:can ?not|can['’]t|am unable to|am not able to|won['’]t) (?:help|assist|comply|provide|fulfil|answer|do)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model))",
    re.IGNORECASE,
)
CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?!\d|\.\d)")
# Each with the word that stands for it where it is masked.
PERSONAL_KINDS = (
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,24}"), "[EMAIL]"),
    (
        re.compile(r"(?<![\w.])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,3}(?!\w)"),
        "[PHONE]",  # with the code of a country
    ),
    (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), "[SSN]"),
    (re.compile(r"\b(?:sk-|ghp_|AKIA|xox[bp]-)[A-Za-z0-9_-]{16,}"), "[KEY]"),
    (CARD, "[CARD]"),
)
_PERSONAL_MARKS = ("@", "+", "-", "AKIA", "ghp_")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f]")
# What UTF-8 looks like when it was read as Latin-1, the replacement character, and controls.
DAMAGE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u00bf\u2122\u0153\u02dc\u201d]|[\x00-\x08\x0e-\x1f]")


def is_personal(text: str) -> bool:
    """Whether a text holds what looks like personal data."""
    # Most texts have none of what these patterns need, and looking for that first spares the patterns.
    if any(mark in text for mark in _PERSONAL_MARKS) and any(one.search(text) for one, _ in PERSONAL_KINDS[:-1]):
        return True
    return any(character.isdigit() for character in text) and any(map(is_card, CARD.finditer(text)))


def is_card(match: re.Match[str]) -> bool:
    """Whether the last digit of a run is the checksum of a payment card's number (Luhn)."""
    digits = "".join(filter(str.isdecimal, match.group()))
    if len(set(digits)) < 2 or digits[0] not in "3456":
        return False
    doubled = (int(digit) * 2 if at % 2 else int(digit) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


HealthKind = Literal[
    "repeated-prompt",
    "repeated-id",
    "template-residue",
    "refusal",
    "personal-data",
    "encoding-damage",
    "echo",
    "too-long",
    "odd-turns",
    "trailing-turns",
    "tools",
    "thoughts",
    "other-replies",
]
ID_KEYS = ("id", "uuid", "_id", "idx")
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thinking_content", "thought", "thoughts", "think") + (
    "cot",
    "complex_cot",
    "chain_of_thought",
    "rationale",
    "scratchpad",
    "reasoning_trace",
    "thinking_trajectories",
)
MAX_CHARACTERS = 16_000  # some 4,000 tokens of English; exact counts need a model's tokenizer


@dataclass(frozen=True, slots=True)
class HealthClass:
    """A class of problems in words: what it is, and what to do about it."""

    title: str
    remedy: str


CLASSES: dict[HealthKind, HealthClass] = {
    "repeated-prompt": HealthClass(
        "Same prompt, different answers", "Keep the best answer, or all of them if the task has several good answers."
    ),
    "repeated-id": HealthClass("Record id used twice", "Give them new ids before you join anything by id."),
    "template-residue": HealthClass(
        "Unfilled template text", "Fill in the placeholder; if markers separate turns, write the turns as a list."
    ),
    "refusal": HealthClass("Answer is a refusal", "Remove, unless you want the model to refuse these."),
    "personal-data": HealthClass(
        "Looks like personal data", "Check e-mail addresses, numbers and keys; mask them, or remove the row."
    ),
    "encoding-damage": HealthClass(
        "Damaged characters", "Load the source again in its own encoding, or remove the row."
    ),
    "echo": HealthClass("Answer repeats the prompt", "Remove it: the model would learn to copy."),
    "too-long": HealthClass("Very long", "Raise the trainer's length limit, or remove the row: it may be cut."),
    "odd-turns": HealthClass(
        "Turns out of order", "Some trainers skip such rows; see trainer compatibility on the Export page."
    ),
    "trailing-turns": HealthClass(
        "Turns after the last answer", "They are not scored. Another export format drops them; the original keeps them."
    ),
    "tools": HealthClass("Tools and tool calls", "Check that your trainer and chat template can read them."),
    "thoughts": HealthClass(
        "Reasoning is not scored", "Only the answer is scored; a trainer may also train on the reasoning."
    ),
    "other-replies": HealthClass(
        "Other replies in the thread", "Only the best-ranked reply is read; a converted file lacks the others."
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows of one class, by position."""

    kind: HealthKind
    positions: tuple[int, ...]

    @property
    def words(self) -> HealthClass:
        """The class in words."""
        return CLASSES[self.kind]


@dataclass(frozen=True, slots=True)
class FormatCount:
    """How many rows are in a format; None is one that was mapped by hand."""

    format: FormatName | None
    rows: int


@dataclass(frozen=True, slots=True)
class Health:
    """What was found in a data set, most frequent class first, and the formats its records are in."""

    findings: tuple[Finding, ...]
    formats: tuple[FormatCount, ...]


def health(samples: Sequence[Sample], *, max_characters: int = MAX_CHARACTERS, watch: Watch | None = None) -> Health:
    """Looks at every row; where each turn is one, at whole records, and names all rows of a record.

    Args:
        max_characters: rows whose conversation is longer are too long.
        watch: is told how far it is; an exception that it raises ends the work.
    """
    rows_of = by_record(samples)
    samples = [samples[rows[-1]] for rows in rows_of]  # the whole conversation stands for each of its turns
    records = [DECODER.decode(sample.raw) for sample in samples]
    by_text: dict[HealthKind, Callable[[Sample], bool]] = {
        "template-residue": lambda one: any(_has_residue(message.content) for message in one.messages),
        "refusal": lambda one: REFUSAL.match(one.response) is not None,
        "personal-data": lambda one: any(is_personal(message.content) for message in one.messages),
        "encoding-damage": lambda one: any(DAMAGE.search(message.content) for message in one.messages),
        "echo": _echoes,
        "too-long": lambda one: sum(len(message.content) for message in one.messages) > max_characters,
        "odd-turns": _is_odd,
    }
    found: dict[HealthKind, list[int]] = {kind: [] for kind in by_text}
    for at, sample in enumerate(samples):
        for kind, test in by_text.items():
            if test(sample):
                found[kind].append(at)
        if watch and at % REPORT_ROWS == 0:
            watch(Progress("checking", at, at / len(samples)))
    found["repeated-prompt"] = _repeated_prompts(samples)
    found["repeated-id"] = _shared([_record_id(record) for record in records])
    found |= _of_turns(samples, records)
    findings = (Finding(kind, _rows_at(positions, rows_of)) for kind, positions in found.items())
    formats = Counter(detect_format(record) for record in records)
    return Health(
        tuple(sorted((one for one in findings if one.positions), key=lambda one: -len(one.positions))),
        tuple(FormatCount(name, rows) for name, rows in formats.most_common()),
    )


def _rows_at(records: Iterable[int], rows_of: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted(row for record in records for row in rows_of[record]))


def record_id(record: object) -> str | int | None:
    """What a record calls itself, where it does."""
    if not isinstance(record, Mapping):
        return None
    value = next((record[key] for key in ID_KEYS if key in record), None)
    return value if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _has_residue(text: str) -> bool:
    return bool(MARKERS.search(text) or PLACEHOLDERS.search(text))


def _echoes(sample: Sample) -> bool:
    prompt, response = " ".join(sample.prompt.split()), " ".join(sample.response.split())
    return bool(prompt) and len(prompt) > 20 and prompt.casefold() == response.casefold()


def _is_odd(sample: Sample) -> bool:
    roles = [message.role for message in sample.messages]
    body = roles[1:] if roles[0] == "system" else roles
    if "system" in body or body[0] != "user":
        return True
    return any(one == other and one != "tool" for one, other in zip(body, body[1:], strict=False))


def _repeated_prompts(samples: Sequence[Sample]) -> list[int]:
    """Rows that ask the same, all turns before the answer alike, and are answered in different ways."""
    asked = [tuple((message.role, message.content.strip()) for message in one.messages[:-1]) for one in samples]
    answers: dict[Hashable, set[str]] = {}
    for key, sample in zip(asked, samples, strict=True):
        answers.setdefault(key, set()).add(sample.response.strip())
    return [at for at, key in enumerate(asked) if len(answers[key]) > 1]


def _shared(values: Sequence[Hashable]) -> list[int]:
    counts = Counter(value for value in values if value is not None)
    return [at for at, value in enumerate(values) if value is not None and counts[value] > 1]


def _record_id(record: object) -> Hashable:
    value = record_id(record)
    return None if value is None else (type(value).__name__, value)


def _of_turns(samples: Sequence[Sample], records: Sequence[object]) -> dict[HealthKind, list[int]]:
    """What the turns of records show, as they are spelt."""
    found: dict[HealthKind, list[int]] = {"trailing-turns": [], "tools": [], "thoughts": [], "other-replies": []}
    for at, (sample, record) in enumerate(zip(samples, records, strict=True)):
        conversation = find_conversation(record)
        turns = (conversation.role_content_turns() or ()) if conversation else ()
        beside = (conversation and conversation.tools) or (isinstance(record, Mapping) and record.get("tools"))
        if turns and _trails(turns, sample):
            found["trailing-turns"].append(at)
        if _has_tools(turns, sample) or beside:
            found["tools"].append(at)
        if any(map(_has_thoughts, turns)) or (isinstance(record, Mapping) and _has_thoughts(record)):
            found["thoughts"].append(at)
        if conversation and conversation.other_messages:
            found["other-replies"].append(at)
    return found


def _trails(turns: Sequence[Mapping[str, object]], sample: Sample) -> bool:
    """Whether turns of the record stand behind the answer that is scored."""
    word = str(turns[0].get("role") or turns[0].get("from")).strip().lower()
    beside = sample.messages[0].role == "system" and ROLES.get(word) != "system"
    return len(turns) > len(sample.messages) - beside


def _has_tools(turns: Sequence[Mapping[str, object]], sample: Sample) -> bool:
    return any(message.role == "tool" for message in sample.messages) or any(map(has_calls, turns))


def _has_thoughts(place: Mapping[str, object]) -> bool:
    """Whether thoughts stand beside an answer, in a field of a turn or of a record."""
    return any(str(key).lower() in THOUGHT_KEYS and _says(value) for key, value in place.items())


def _says(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, list) and bool(value)
