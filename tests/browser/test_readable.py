"""Awkward rows in full: each is shown as the text that it is, and none has to be scrolled sideways to be read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from delift_core.data.loading import load_file
from delift_core.workspace import RunSpec, Workspace
from tests.browser.conftest import reader_of
from tests.browser.worked import lay_out_as_a_grid
from tests.scored import score_and_select
from tests.tiny_models import save_model

Settled = Callable[[Page], None]
Visit = Callable[[Page, str], None]
TEXTS = {
    "markup": '<b>bold</b> <img src="x" onerror="alert(1)"> &lt;kept&gt;\n# Title\n\n* one\n\n'
    "| a | b |\n|---|---|\n| `c` | **d** |\n[link](http://evil.invalid) $x^2$",
    "right to left": "اكتب جملة عن البحر، ثم عدّ إلى ثلاثة (1، 2، 3) وانتهِ بكلمة end.\n"
    "כתוב משפט על הים, ואז ספור עד שלוש: 1, 2, 3.",
    "unspaced": "请用一句话描述大海然后从一数到三并且不要在任何地方使用空格或者换行" * 6
    + "海について一文で書いてください。" * 4,
    "code": "def f(xs):\n\treturn [x * 2 for x in xs if x % 2 == 0 and x > 10 and x < 1_000_000 and x != 42]\n" * 2,
    "word": "Donaudampfschifffahrtsgesellschaft" * 60,
    "long": "A sentence of many that say nothing at all. " * 80,
}
LONGEST = 400  # bytes of a response that the tiny model can score
# What has to be scrolled sideways, or is cut off at the side. The grids of tables are drawn on canvas and show the
# beginning of a text; it is read in full beside or above them.
TOO_WIDE = """() => [...document.querySelectorAll('[data-testid=stMain] *, [role=dialog] *')].filter(element => {
    if (element.closest('[data-testid=stDataFrame], [data-testid=stPlotlyChart], svg, canvas, input')) return false;
    const style = getComputedStyle(element);
    if (style.display === 'inline' || element.clientWidth === 0 || element.clientHeight <= 1) return false;
    const holds_text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    const scrolls = ['auto', 'scroll'].includes(style.overflowX);
    return element.scrollWidth > element.clientWidth + 1 && (holds_text || scrolls);
}).map(element => `${element.scrollWidth} in ${element.clientWidth}: ${element.outerHTML.slice(0, 200)}`)"""


@dataclass(frozen=True, slots=True)
class Awkward:
    """A closed workspace of awkward rows, and the id of each by its name in `TEXTS`."""

    folder: Path
    ids: dict[str, str]


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Awkward:
    """Run r1 over the rows, scored by a random model, and two selections of it: s1 is within s2."""
    folder = tmp_path_factory.mktemp("awkward")
    pool_file = folder / "pool.jsonl"
    answers = [text if len(text.encode()) < LONGEST else "Read." for text in TEXTS.values()]
    rows = [
        {"instruction": f"{name}: {text}", "output": answer}
        for (name, text), answer in zip(TEXTS.items(), answers, strict=True)
    ]
    pool_file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    model = save_model(folder / "model")
    with Workspace.open(folder / "workspace") as workspace:
        pool = workspace.datasets.add(load_file(pool_file), role="pool")
        spec = RunSpec(pool.id, None, None, str(model), "auto", "cpu", "float32")
        score_and_select(workspace, spec, {f"{count} rows": count for count in (2, 5)})
        ids = dict(zip(TEXTS, (sample.id for sample in load_file(pool_file).samples), strict=True))
    lay_out_as_a_grid(folder / "workspace")
    return Awkward(folder / "workspace", ids)


@pytest.fixture(scope="module")
def server_workspace(awkward: Awkward) -> Path:
    """Made before the server opens it."""
    return awkward.folder


def test_an_opened_row_is_its_text_and_fits(page: Page, settled: Settled, visit: Visit, awkward: Awkward) -> None:
    for name, row in awkward.ids.items():
        visit(page, f"/curate?selection=s2&row={row}")
        expect(reader_of(page)).to_be_visible()
        reads(page, name)
        fits(page, settled, f"curate, {name}")


def test_a_pair_is_its_two_texts_and_fits(page: Page, settled: Settled) -> None:
    page.goto("/explore?pair=1-1")
    settled(page)
    for line, name in enumerate(TEXTS, start=1):
        page.get_by_role("spinbutton", name="Helped").fill(str(line))
        page.keyboard.press("Enter")
        settled(page)
        reads(page, name)
        fits(page, settled, f"explore, {name}")


def test_a_row_of_a_comparison_opens_in_full(page: Page, settled: Settled) -> None:
    page.goto("/compare?compare_a=s1&compare_b=s2")
    settled(page)
    fits(page, settled, "compare")
    page.get_by_role("tab", name="Only in B (3)").click()
    settled(page)
    for place in range(3):
        page.locator(".dvn-scroller:visible").first.click(position={"x": 15, "y": 33 + 16 + 33 * place})
        drawer = page.get_by_role("dialog")
        expect(drawer).to_be_visible()
        settled(page)
        shown = drawer.get_by_test_id("stText").first.text_content()
        assert shown is not None
        reads(page, shown.partition(":")[0])
        fits(page, settled, "compare, a row")
        page.keyboard.press("Escape")
        expect(drawer).to_have_count(0)
        settled(page)


def reads(page: Page, name: str) -> None:
    """The page shows an awkward row's prompt letter by letter."""
    texts = page.locator("[data-testid=stText], .reader .turn").all_text_contents()
    assert f"{name}: {TEXTS[name]}".strip() in [text.strip() for text in texts]


def fits(page: Page, settled: Settled, where: str) -> None:
    """Neither the window nor a text in it has to be scrolled sideways; nothing became an element, or an error."""
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (where, width)
        assert page.evaluate(TOO_WIDE) == [], (where, width)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        assert page.locator("[href*='evil.invalid'], [onerror]").count() == 0, where
    page.set_viewport_size({"width": 1280, "height": 900})
