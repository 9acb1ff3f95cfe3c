"""Texts of strangers, made fit to be looked at: nothing in them can move, hide, colour or turn round what is shown.
And paths as a reader knows them.
"""

import re
from pathlib import Path

# All controls but tab and line feed; marks that override or isolate the direction of writing; line and paragraph
# separators; and the characters that show nothing at all, such as zero-width spaces and tags. The joiners U+200C and
# U+200D stay: words of many languages, and many emoji, are written with them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text with every control and direction mark written out, as \\x1b or \\u202e; lines and tabs stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def short_path(path: Path | str) -> str:
    """A path with the home folder written as ~."""
    path, home = Path(path), Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)
