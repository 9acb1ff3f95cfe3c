"""Plain text: a `text` field, read as an opening and its continuation.

The opening is the prompt and the continuation the response, so that a utility is how much another text makes this
one's continuation likelier. The text is parted at the first white space behind its middle; both parts together are the
text, to the character.
"""

import re
from collections.abc import Mapping

from delift_core.formats.base import RecordError, end_at_response, missing_field, require_text
from delift_core.samples import Message

FIELD = "text"
_GAP = re.compile(r"\s+(?=\S)")


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has a `text` field that is text."""
    return isinstance(record.get(FIELD), str)


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads a text as a prompt (its opening, with the white space behind it) and a response (the rest).

    Raises:
        RecordError: there is no text, or it is one word.
    """
    if FIELD not in record:
        raise missing_field(FIELD, "a plain text")
    text = require_text(record[FIELD], FIELD)
    start = len(text) - len(text.lstrip())
    gap = _GAP.search(text, max(start, len(text) // 2)) or _last_gap(text, start)
    if gap is None:
        what = "the text is one word or none, so that it has no continuation"
        raise RecordError("empty-response", FIELD, what, "Give a longer text, or remove the record.")
    messages = (Message("user", text[: gap.end()]), Message("assistant", text[gap.end() :]))
    return end_at_response(messages, FIELD)


def _last_gap(text: str, start: int) -> re.Match[str] | None:
    """The last white space before the middle, for a text that ends with a long word."""
    return max(_GAP.finditer(text, start), key=re.Match.start, default=None)
