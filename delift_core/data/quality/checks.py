"""Issues in the rows of a data set, by class: the health report.

An issue is a hint, found by patterns in the text; no row is changed or left out because of one. Records that could not
be read are the loader's `Problem`s.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from delift_core.data.formats import detect_format
from delift_core.data.formats.base import turn_role
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.turn_structure import has_calls, thoughts_of
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.raw_records import REPORT_ROWS, Watch, rows_progress
from delift_core.samples import FormatName, Sample, has_thoughts, positions_by_record

# Markers of chat and prompt templates, which a model would learn to write.
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
# Patterns of personal data, each with its replacement in a masked text.
PERSONAL_KINDS = (
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,24}"), "[EMAIL]"),
    (
        re.compile(r"(?<![\w.])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,3}(?!\w)"),
        "[PHONE]",  # with a country code
    ),
    (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), "[SSN]"),
    (re.compile(r"\b(?:sk-|ghp_|AKIA|xox[bp]-)[A-Za-z0-9_-]{16,}"), "[KEY]"),
    (CARD, "[CARD]"),
)
_PERSONAL_SIGNS = ("@", "+", "-", "AKIA", "ghp_")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f]")
# UTF-8 that was decoded as Latin-1, the replacement character, and control characters.
DAMAGE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u00bf\u2122\u0153\u02dc\u201d]|[\x00-\x08\x0e-\x1f]")


def has_personal_data(text: str) -> bool:
    """Whether a text seems to hold personal data."""
    # Most texts lack the characters that the patterns need, so a quick test avoids the slow patterns.
    if any(mark in text for mark in _PERSONAL_SIGNS) and any(one.search(text) for one, _ in PERSONAL_KINDS[:-1]):
        return True
    return any(character.isdigit() for character in text) and any(map(is_card_number, CARD.finditer(text)))


def is_card_number(match: re.Match[str]) -> bool:
    """Whether a run of digits has the checksum of a payment card number (Luhn)."""
    digits = "".join(filter(str.isdecimal, match.group()))
    if len(set(digits)) < 2 or digits[0] not in "3456":
        return False
    doubled = (int(digit) * 2 if at % 2 else int(digit) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


IssueKind = Literal[
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
    "unread-thoughts",
    "other-replies",
]
ID_KEYS = ("id", "uuid", "_id", "idx")
MAX_CHARACTERS = 16_000  # about 4,000 tokens of English


@dataclass(frozen=True, slots=True)
class IssueClass:
    """Title and remedy of a class of issues."""

    title: str
    remedy: str


ISSUE_CLASSES: dict[IssueKind, IssueClass] = {
    "repeated-prompt": IssueClass(
        "Same prompt, different answers", "Keep the best answer, or all of them if the task has several good answers."
    ),
    "repeated-id": IssueClass("Record id used twice", "Give them new ids before you join anything by id."),
    "template-residue": IssueClass(
        "Unfilled template text", "Fill in the placeholder; if markers separate turns, write the turns as a list."
    ),
    "refusal": IssueClass("Answer is a refusal", "Remove, unless you want the model to refuse these."),
    "personal-data": IssueClass(
        "Looks like personal data", "Check e-mail addresses, numbers and keys; mask them, or remove the row."
    ),
    "encoding-damage": IssueClass(
        "Damaged characters", "Load the source again in its own encoding, or remove the row."
    ),
    "echo": IssueClass("Answer repeats the prompt", "Remove it: the model would learn to copy."),
    "too-long": IssueClass("Very long", "Raise the trainer's length limit, or remove the row: it may be cut."),
    "odd-turns": IssueClass(
        "Turns out of order", "Some trainers skip such rows; see trainer compatibility on the Export page."
    ),
    "trailing-turns": IssueClass(
        "Turns after the last answer", "They are not scored. Another export format drops them; the original keeps them."
    ),
    "tools": IssueClass(
        "Tools and tool calls", "The chat template writes them. Check that your trainer gives them to it."
    ),
    "thoughts": IssueClass(
        "Thoughts before the answer",
        "They are scored with the answer unless you chose one part when loading. Check that your trainer and chat "
        "template keep them.",
    ),
    "unread-thoughts": IssueClass(
        "Reasoning in a field that is not read",
        "Only the prompt and the answer are scored. Name the field reasoning_content, and load the source again.",
    ),
    "other-replies": IssueClass(
        "Other replies in the thread", "Only the best-ranked reply is read; a converted file lacks the others."
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The rows with an issue of one class, by position."""

    kind: IssueKind
    positions: tuple[int, ...]

    @property
    def issue_class(self) -> IssueClass:
        """Title and remedy."""
        return ISSUE_CLASSES[self.kind]


@dataclass(frozen=True, slots=True)
class FormatCount:
    """The number of rows in a format; None for columns that were mapped by hand."""

    format: FormatName | None
    rows: int


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The issues in a data set, most frequent class first, and the formats of its records."""

    findings: tuple[Finding, ...]
    formats: tuple[FormatCount, ...]


def find_issues(
    samples: Sequence[Sample], *, max_characters: int = MAX_CHARACTERS, watch: Watch | None = None
) -> HealthReport:
    """Finds the issues of all rows; if each turn is a row, an issue of a record is one of all its rows.

    Args:
        max_characters: the length above which a conversation is too long.
        watch: called with the `Progress`; an exception that it raises stops the work.
    """
    rows_of = positions_by_record(samples)
    samples = [samples[rows[-1]] for rows in rows_of]  # the last row of a record holds all its turns
    records = [DECODER.decode(sample.raw) for sample in samples]
    by_text: dict[IssueKind, Callable[[Sample], bool]] = {
        "template-residue": lambda one: any(
            MARKERS.search(text) or PLACEHOLDERS.search(text) for text in texts_of(one)
        ),
        "refusal": lambda one: REFUSAL.match(one.response) is not None,
        "personal-data": lambda one: any(map(has_personal_data, texts_of(one))),
        "encoding-damage": lambda one: any(map(DAMAGE.search, texts_of(one))),
        "echo": _repeats_prompt,
        "too-long": lambda one: sum(map(len, texts_of(one))) > max_characters,
        "odd-turns": _is_out_of_order,
    }
    found: dict[IssueKind, list[int]] = {kind: [] for kind in by_text}
    for at, sample in enumerate(samples):
        for kind, test in by_text.items():
            if test(sample):
                found[kind].append(at)
        if watch and at % REPORT_ROWS == 0:
            watch(rows_progress("checking", at, len(samples)))
    found["repeated-prompt"] = _repeated_prompts(samples)
    found["repeated-id"] = _repeated([_record_id(record) for record in records])
    found |= _turn_issues(samples, records)
    findings = (
        Finding(kind, tuple(sorted(row for record in positions for row in rows_of[record])))
        for kind, positions in found.items()
    )
    formats = Counter(detect_format(record) for record in records)
    return HealthReport(
        tuple(sorted((one for one in findings if one.positions), key=lambda one: -len(one.positions))),
        tuple(FormatCount(name, rows) for name, rows in formats.most_common()),
    )


def record_id(record: object) -> str | int | None:
    """The id field of a record, if it has one."""
    if not isinstance(record, Mapping):
        return None
    value = next((record[key] for key in ID_KEYS if key in record), None)
    return value if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def texts_of(sample: Sample) -> list[str]:
    """All texts of a conversation, thoughts and tool calls among them: a model is trained on all of them."""
    return [text for message in sample.messages for text in message.texts]


def _repeats_prompt(sample: Sample) -> bool:
    prompt, response = " ".join(sample.prompt.split()), " ".join(sample.response.split())
    return bool(prompt) and len(prompt) > 20 and prompt.casefold() == response.casefold()


def _is_out_of_order(sample: Sample) -> bool:
    roles = [message.role for message in sample.messages]
    body = roles[1:] if roles[0] == "system" else roles
    if "system" in body or body[0] != "user":
        return True
    return any(one == other and one != "tool" for one, other in zip(body, body[1:], strict=False))


def _repeated_prompts(samples: Sequence[Sample]) -> list[int]:
    """Positions of the rows whose prompt (tools and turns before the answer) has a different answer in another row."""
    asked = [
        (one.tools, *((message.role, message.content.strip()) for message in one.messages[:-1])) for one in samples
    ]
    answers: dict[Hashable, set[str]] = {}
    for key, sample in zip(asked, samples, strict=True):
        answers.setdefault(key, set()).add(sample.response.strip())
    return [at for at, key in enumerate(asked) if len(answers[key]) > 1]


def _repeated(values: Sequence[Hashable]) -> list[int]:
    counts = Counter(value for value in values if value is not None)
    return [at for at, value in enumerate(values) if value is not None and counts[value] > 1]


def _record_id(record: object) -> Hashable:
    value = record_id(record)
    return None if value is None else (type(value).__name__, value)


def _turn_issues(samples: Sequence[Sample], records: Sequence[object]) -> dict[IssueKind, list[int]]:
    """Issues that only the raw turns of a record show."""
    kinds: tuple[IssueKind, ...] = ("trailing-turns", "tools", "thoughts", "unread-thoughts", "other-replies")
    found: dict[IssueKind, list[int]] = {kind: [] for kind in kinds}
    for at, (sample, record) in enumerate(zip(samples, records, strict=True)):
        conversation = find_conversation(record)
        turns = (conversation.role_content_turns() or ()) if conversation else ()
        fields = record if isinstance(record, Mapping) else {}
        beside = (conversation and conversation.tools) or fields.get("tools")
        if turns and _has_trailing_turns(turns, sample):
            found["trailing-turns"].append(at)
        if beside or any(message.role == "tool" for message in sample.messages) or any(map(has_calls, turns)):
            found["tools"].append(at)
        if any(map(has_thoughts, sample.messages)):
            found["thoughts"].append(at)
        elif any(map(thoughts_of, (*turns, fields))):
            found["unread-thoughts"].append(at)
        if conversation and conversation.other_messages:
            found["other-replies"].append(at)
    return found


def _has_trailing_turns(turns: Sequence[Mapping[str, object]], sample: Sample) -> bool:
    """Whether turns follow the answer that is scored."""
    has_system_field = sample.messages[0].role == "system" and turn_role(turns[0]) != "system"
    return len(turns) > len(sample.messages) - has_system_field
