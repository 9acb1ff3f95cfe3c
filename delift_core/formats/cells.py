"""Lists that stand in a cell as text: JSON, or what Python and numpy print."""

import ast
import json
import re
import warnings

from delift_core.formats.dialects import is_dialect

# numpy prints objects below each other without commas; inside a string that Python printed no line ends.
_NO_COMMA = re.compile(r"\}\r?\n ?\{")


def list_in_text(text: str) -> list[object] | None:
    """The list that a text is; None for any other text."""
    text = text.strip()
    if not (text[:1] == "[" and text[-1:] == "]"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python_list(text)
    return found if isinstance(found, list) else None


def turns_in_text(value: object) -> object:
    """The list of turns that a text is, every one of them with a known role; any other value as it is."""
    found = list_in_text(value) if isinstance(value, str) else None
    return found if found and all(is_dialect(turn) for turn in found) else value


def _python_list(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a text that Python did not print
            found = ast.literal_eval(_NO_COMMA.sub("}, {", text))
        return json.loads(json.dumps(found))  # Python has keys and values that JSON has not
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
