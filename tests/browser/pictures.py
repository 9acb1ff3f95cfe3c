"""The pictures of docs/pages.md: what each says that it shows, and what must be on the page when it is taken."""

import re
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
PLACEHOLDERS = re.compile(r"Loading|No (?:selections|runs) yet")
# Of this machine: a path of several parts that no ~ stands before. Addresses and hub ids are none.
PATH = re.compile(r"(?<![\w~:/.])/[\w.-]+/[\w./-]+")
# Texts with the box of each; of inputs, what stands in them. Tables are canvases that hold their cells as text.
TEXTS = """() => {
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        const text = element.value !== undefined && element.matches('input, textarea') ? element.value
            : own || element.matches('p, button, h1, h2, h3, [data-testid=stMetricValue]') ? element.textContent : '';
        if (!text || element.closest('script, style')) continue;
        const box = element.getBoundingClientRect();
        const words = text.trim().replace(/\\s+/g, ' ');
        found.push([words, box.top, box.bottom, box.width * box.height]);
    }
    return found;
}"""

CUT_TABLES = (
    """() => [...document.querySelectorAll('.dvn-scroller')].some(one => one.scrollWidth > one.clientWidth + 1)"""
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, light and dark.

    Attributes:
        caption: as in docs/pages.md.
        shows: patterns of texts that lie within it.
        hides: patterns of texts that are nowhere on the page.
        whole: a selector of what lies within it from edge to edge.
        tables: whether all columns of its tables lie within them.
        height: of the window, where the usual one cuts off what matters.
    """

    caption: str
    shows: tuple[str, ...]
    hides: tuple[str, ...] = ()
    whole: str = ""
    tables: bool = False
    height: int = 0

    def faults(self, page: Page) -> list[str]:
        """What is wrong with a picture of the page as it is now."""
        size = page.viewport_size
        assert size
        bar = page.get_by_test_id("stBottom").bounding_box() if page.get_by_test_id("stBottom").count() else None
        edge = bar["y"] if bar else size["height"]
        texts = page.evaluate(TEXTS)
        seen = [words for words, top, bottom, area in texts if area and top >= 0 and bottom <= size["height"]]
        everything = [words for words, *_ in texts]
        found = [f"{pattern!r} is not in sight" for pattern in self.shows if not _any(pattern, seen)]
        found += [f"{pattern!r} is on the page" for pattern in self.hides if _any(pattern, everything)]
        found += [f"{words!r} is a placeholder" for words in seen if PLACEHOLDERS.search(words)]
        found += [f"{words!r} tells of this machine" for words in everything if is_of_this_machine(words)]
        if page.get_by_test_id("stToast").count():
            found.append("a message lies over it")
        if self.tables and page.evaluate(CUT_TABLES):
            found.append("a table is cut off at its right")
        if self.whole:
            box = page.locator(self.whole).first.bounding_box()
            if box is None or box["y"] < 0 or box["y"] + box["height"] > edge:
                found.append(f"{self.whole} is cut off")
        return found


def is_of_this_machine(words: str) -> bool:
    """Whether a text holds a path or the name of the machine that it was made on."""
    own = (str(ROOT), str(Path.home()) + "/", sys.prefix, tempfile.gettempdir() + "/")
    named = re.search(rf"\b{re.escape(socket.gethostname())}\b", words) if len(socket.gethostname()) > 3 else None
    return bool(PATH.search(words) or named or any(path in words for path in own))


def _any(pattern: str, texts: list[str]) -> bool:
    return any(re.search(pattern, words) for words in texts)


PICTURES = {
    "welcome": Picture("Home on the first visit", (r"Try the sample project$", r"1 · Data$", r"8 · Export$")),
    "home": Picture(
        "Home with a run and two selections",
        (r"^Selections$", r"^Runs$", r"^2,500$", r"Go to Curate$", r"^\d+ of 50$"),
        tables=True,
    ),
    "data": Picture("Data with the sample project", (r"Sample pool", r"^Health$|Health")),
    "score-cost": Picture("Score with the time estimated", (r"^Pairs to score$", r"^Measured at ", r"Start scoring$")),
    "score-running": Picture(
        "Score while pairs are scored", (r"^Scoring · [1-9][\d,]* of 2,500 pairs", r"Cancel$"), hides=(r"^Waiting",)
    ),
    "score": Picture("Score when all pairs are scored", (r"^All 2,500 pairs are scored\.$", r"^Utility is how much")),
    "select": Picture(
        "Select with the gain curve", (r"^Covers$", r"^Random rows$"), whole=".st-key-gain_curve", height=1250
    ),
    "explore-matrix": Picture("Explore: the utility matrix and one pair", (r"^Pair$",)),
    "explore-map": Picture(
        "Explore: the map with twelve points under a lasso", (r"12 rows",), hides=(r"Rough layout",)
    ),
    "curate": Picture("Curate with a selection that was just kept", (r"rows? read$|of \d+ read$",)),
    "curate-why": Picture("Curate: why a row was left out", (r"^Left out", r"^Does the same job as:")),
    "curate-edited": Picture("Curate after edits", (r"^Kept by hand$", r"Undo"), height=1300),
    "compare": Picture("Compare: two selections side by side", (r"^Overlap$", r"^In both$", r"^Only in A$")),
    "evaluate": Picture(
        "Evaluate with a finished evaluation",
        (r"^Done$", r"Run again$", r"Fine-tuned on the subset"),
        hides=(r"Estimate time",),
        whole=".st-key-gaps",
        tables=True,
    ),
    "export": Picture(
        "Export with a written file", (r"Download \S+\.jsonl", r"^Checks$", r"^Pairs scored"), height=1100
    ),
}
