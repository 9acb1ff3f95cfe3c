"""Plain text: a `text` field, read as an opening and its continuation.

The opening is the prompt and the continuation the response, so that a utility is how much another text makes this
one's continuation likelier. The text is parted at the first white space behind its middle; both parts together are the
text, to the character.
"""

import re
from collections.abc import Mapping

from delift_core.data.formats.base import RecordError, end_at_response, missing_field, require_text
from delift_core.data.formats.chat_text import opens_as_chat
from delift_core.samples import Message

FIELD = "text"
# Fields beside a text which say that it is a record of another kind: a message, an example of a task, an annotation.
_OTHER_KINDS = re.compile(
    r"role|speaker|sender|from|user|username|(?:parent|message|reply|dialog|dialogue|conversation|conv|thread|session|chat"
    r"|turn|utterance|replied_to|in_reply_to|reply_to).*|turns?|labels?|label_.*|.*_labels?|class(?:es|_.*)?|target.*"
    r"|category_id|sentiment.*|emotions?|intents?|stars|polarity|stance|hypothesis|premise|text_?[ab12]|sentence.*"
    r"|summary|headline|translations?|translated.*|source_lang.*|target_lang.*|src|tgt|embeddings?|vectors?|.*_embedding"
    r"|tokens|entities|spans?|tags|ner.*|pos|annotations?|answers?|questions?|responses?|completion|output|prompt"
    r"|instruction|rewrite|paraphrase|correction|corrected|[a-z]{2}(?:_[a-z]{2})?",
    re.IGNORECASE,
)
# Two letters that are no language beside the text.
_NO_LANGUAGE = ("id", "ix", "no", "nr", "ts")
_NUMBERS = 8  # so many numbers in a list are a vector
_GAP = re.compile(r"\s+(?=\S)")


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has a `text` field that is text, and nothing says that it is a record of another kind."""
    text = record.get(FIELD)
    return isinstance(text, str) and other_kind(record) is None and not opens_as_chat(text)


def other_kind(record: Mapping[str, object]) -> str | None:
    """The field beside a text which says that the record is of another kind; None where it is plain or no text."""
    if not isinstance(record.get(FIELD), str):
        return None
    return next((str(key) for key, value in record.items() if key != FIELD and _is_other(str(key), value)), None)


def _is_other(key: str, value: object) -> bool:
    if value in (None, "", [], {}):
        return key in ("parent_id", "role")  # the first message of a thread answers none
    if isinstance(value, list) and len(value) >= _NUMBERS and all(isinstance(one, int | float) for one in value):
        return True
    return key not in _NO_LANGUAGE and _OTHER_KINDS.fullmatch(key) is not None


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
