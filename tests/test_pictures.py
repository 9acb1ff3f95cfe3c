"""The pictures of docs/ are named, say what they show, and tell nothing of the machine that they were taken on."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.pictures import PICTURES, ROOT, is_of_this_machine

FOLDER = ROOT / "docs" / "screenshots"
PAGES = (ROOT / "docs" / "pages.md").read_text()
DRAWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"pHYs", b"tRNS", b"sBIT"}


def chunks(path: Path) -> Iterator[bytes]:
    """The kinds of parts that a PNG is made of."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8]
        at += 12 + length


def test_every_picture_is_on_the_page_under_its_caption() -> None:
    shown = dict(re.findall(r"!\[([^\]]+)\]\(screenshots/([\w-]+)\.png\)", PAGES))
    captions = {name: caption for caption, name in shown.items()}
    expected = {}
    for name, picture in PICTURES.items():
        expected |= {name: f"{picture.caption}, light", f"{name}-dark": f"{picture.caption}, dark"}
    assert captions == expected
    assert {path.stem for path in FOLDER.iterdir()} == set(expected)


@pytest.mark.parametrize("page", ["README.md", "docs/get-started.md"])
def test_what_another_page_shows_is_one_of_them(page: str) -> None:
    named = re.findall(r"\((?:docs/)?screenshots/([\w-]+)\.png\)", (ROOT / page).read_text())
    assert named and set(named) <= set(PICTURES)


def test_pictures_hold_pixels_and_nothing_else() -> None:
    for path in FOLDER.iterdir():
        assert set(chunks(path)) <= DRAWN, path.name


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        ("On this machine: ~/workspace/exports/mine.jsonl", False),
        ("Qwen/Qwen2.5-0.5B-Instruct", False),
        ("https://example.org/a/b", False),
        ("either/or, 3 m/s", False),
        ("On this machine: /srv/people/ada/exports/mine.jsonl", True),
        (f"in {Path.home()}/mine.jsonl", True),
        (str(ROOT), True),
    ],
)
def test_a_path_of_the_machine_is_known_from_other_texts(words: str, tells: bool) -> None:
    assert is_of_this_machine(words) == tells
