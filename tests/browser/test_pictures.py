"""A picture that does not show what its caption says, or that tells of the machine, is refused."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.pictures import Picture

PAGE = """<h1>Export</h1><p class="checks">Checks</p><p>{words}</p><input value="{field}">
<div class="chart" style="height: {height}px"></div><p>Below</p>"""
PICTURE = Picture("Export", (r"^Checks$",), hides=(r"^Waiting",), whole=".chart")


@pytest.fixture
def blank(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 400, "height": 500})
    yield page
    page.close()


def drawn(page: Page, *, words: str = "Done", field: str = "mine", height: int = 100) -> Page:
    page.set_content(PAGE.format(words=words, field=field, height=height))
    return page


def test_a_page_that_shows_all_of_it_passes(blank: Page) -> None:
    assert PICTURE.faults(drawn(blank)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"words": "Waiting its turn"}, "is on the page"),
        ({"words": "Loading the model"}, "is a placeholder"),
        ({"words": "At /srv/people/ada/mine.jsonl"}, "tells of this machine"),
        ({"field": "/srv/people/ada/model"}, "tells of this machine"),
        ({"height": 900}, ".chart is cut off"),
    ],
)
def test_what_is_wrong_is_said(blank: Page, changed: dict[str, object], said: str) -> None:
    (fault,) = PICTURE.faults(drawn(blank, **changed))  # type: ignore[arg-type]
    assert said in fault


def test_what_lies_below_the_window_is_not_shown(blank: Page) -> None:
    (fault,) = Picture("Export", (r"^Below$",)).faults(drawn(blank, height=900))
    assert "is not in sight" in fault


def test_a_table_wider_than_its_place_is_seen(blank: Page) -> None:
    blank.set_content("<div class='dvn-scroller' style='width:99px;overflow:auto'><p style='width:200px'>x</p></div>")
    (fault,) = Picture("Home", (), tables=True).faults(blank)
    assert "cut off at its right" in fault
