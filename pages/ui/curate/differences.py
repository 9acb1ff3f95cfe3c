"""The differences between two texts, word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A sequence of words that is in both texts, or in one of them."""

    kind: Literal["same", "removed", "added"]
    text: str


def differences(before: str, after: str) -> tuple[Piece, ...]:
    """The pieces of two texts in order: "same" and "removed" make up `before`, "same" and "added" make up `after`.

    Texts of more than 4,000 words are compared line by line, which is much faster.
    """
    first, second = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(first), len(second)) > _MOST_WORDS:
        first, second = before.splitlines(keepends=True), after.splitlines(keepends=True)
    pieces = []
    for what, start, end, to_start, to_end in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if what == "equal":
            pieces.append(Piece("same", "".join(first[start:end])))
            continue
        if end > start:
            pieces.append(Piece("removed", "".join(first[start:end])))
        if to_end > to_start:
            pieces.append(Piece("added", "".join(second[to_start:to_end])))
    return tuple(pieces)
