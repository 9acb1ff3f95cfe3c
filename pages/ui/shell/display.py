"""Untrusted texts made safe to display: no character in them can move, hide, colour or reverse what is shown. And short
paths.
"""

import re
from pathlib import Path

# All control characters but tab and line feed; marks that change the direction of writing; line and paragraph
# separators; and invisible characters, such as zero-width spaces and tags. The joiners U+200C and U+200D stay: many
# languages and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text with control characters and direction marks escaped, as \\x1b or \\u202e; lines and tabs stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def short_path(path: Path | str) -> str:
    """A path with the home folder written as ~."""
    path, home = Path(path), Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)
