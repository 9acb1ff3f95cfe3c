"""Plain text: a `text` field, split into an opening (the prompt) and a continuation (the response).

A utility is then how much likelier another text makes the continuation. The split is at the first whitespace after the
middle of the text; prompt and response together are the whole text.
"""

import re
from collections.abc import Mapping

from delift_core.data.formats.base import RecordError, end_at_response, missing_field_error, require_text
from delift_core.data.formats.chat_text import starts_with_marker
from delift_core.samples import Message

FIELD = "text"
# Fields that show a record to be of another kind: a message, an example of a task, an annotation.
_TELLING_NAMES = re.compile(
    r"role|speaker|sender|from|user|username|(?:parent|message|reply|dialog|dialogue|conversation|conv|thread|session|chat"
    r"|turn|utterance|replied_to|in_reply_to|reply_to).*|turns?|labels?|label_.*|.*_labels?|class(?:es|_.*)?|target.*"
    r"|category_id|sentiment.*|emotions?|intents?|stars|polarity|stance|hypothesis|premise|text_?[ab12]|sentence.*"
    r"|summary|headline|translations?|translated.*|source_lang.*|target_lang.*|src|tgt|embeddings?|vectors?|.*_embedding"
    r"|tokens|entities|spans?|tags|ner.*|pos|annotations?|answers?|questions?|responses?|completion|output|prompt"
    r"|instruction|rewrite|paraphrase|correction|corrected|[a-z]{2}(?:_[a-z]{2})?",
    re.IGNORECASE,
)
# Names of two letters that are not a language.
_NOT_LANGUAGES = ("id", "ix", "no", "nr", "ts")
_NUMBERS = 8  # a list of at least so many numbers is a vector
_GAP = re.compile(r"\s+(?=\S)")


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record has a text under `text`, and no field shows that it is of another kind."""
    text = record.get(FIELD)
    return isinstance(text, str) and telling_field(record) is None and not starts_with_marker(text)


def telling_field(record: Mapping[str, object]) -> str | None:
    """The field that shows a record with a text to be of another kind, if there is one."""
    if not isinstance(record.get(FIELD), str):
        return None
    return next((str(key) for key, value in record.items() if key != FIELD and _tells_kind(str(key), value)), None)


def _tells_kind(key: str, value: object) -> bool:
    if value in (None, "", [], {}):
        return key in ("parent_id", "role")  # the first message of a thread has no parent
    if isinstance(value, list) and len(value) >= _NUMBERS and all(isinstance(one, int | float) for one in value):
        return True
    return key not in _NOT_LANGUAGES and _TELLING_NAMES.fullmatch(key) is not None


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Splits a text into a prompt (with the whitespace at its end) and a response.

    Raises:
        RecordError: there is no text, or it is a single word.
    """
    if FIELD not in record:
        raise missing_field_error(FIELD, "a plain text")
    text = require_text(record[FIELD], FIELD)
    start = len(text) - len(text.lstrip())
    gap = _GAP.search(text, max(start, len(text) // 2)) or _last_gap(text, start)
    if gap is None:
        what = "the text is one word or none, so that it has no continuation"
        raise RecordError("empty-response", FIELD, what, "Give a longer text, or remove the record.")
    messages = (Message("user", text[: gap.end()]), Message("assistant", text[gap.end() :]))
    return end_at_response(messages, FIELD)


def _last_gap(text: str, start: int) -> re.Match[str] | None:
    """The last whitespace, for a text that ends with a long word."""
    return max(_GAP.finditer(text, start), key=re.Match.start, default=None)
