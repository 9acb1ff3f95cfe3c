"""A curator's way in a real Chromium with the real bundled model: from the sample project to a downloaded JSONL."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from delift_core.layout import map_coordinates
from delift_core.sample_project import sample_project_files
from delift_core.samples import Sample
from delift_core.sources import load_file
from delift_core.utility.store import PairStore
from tests.browser.conftest import AppServer

SCORING_MS = 1_200_000
GRID = {"left": 8, "right": 8, "top": 44, "bottom": 48}  # of the map's option, see figures/coverage_map.py
BRUSH_LASSO = (25 + 29.5, 25)  # centre of the second tool of the chart's toolbox

Settled = Callable[[Page], None]
Screenshot = Callable[[Page, str], Path]


@pytest.mark.timeout(1500)
def test_from_the_sample_project_to_a_downloaded_file(
    page: Page,
    app_server: AppServer,
    settled: Settled,
    screenshot: Screenshot,
    external_requests: list[str],
    tmp_path: Path,
) -> None:
    page.goto("/")
    settled(page)
    screenshot(page, "welcome")
    page.get_by_role("button", name="Try the sample project").click()
    score(page, settled, screenshot)
    select(page, settled, screenshot)
    dropped = curate(page, settled, screenshot)
    kept = lasso(page, app_server.workspace, settled, screenshot)
    matrix(page, settled, screenshot)
    lines = export(page, settled, screenshot, tmp_path)
    pool = sample_project_files().pool.read_text().splitlines()
    assert set(lines) <= set(pool)
    numbers = {pool.index(line) + 1 for line in lines}
    assert kept <= numbers
    assert (dropped in numbers) == (dropped in kept)  # the last word counts
    assert external_requests == []
    page.goto("/data")  # a deep link, and a screenshot for the README
    settled(page)
    screenshot(page, "data")
    page.goto("/")
    settled(page)
    screenshot(page, "home")


def score(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """Measures the cost, then scores with the bundled model; a click elsewhere is answered meanwhile."""
    expect(page.get_by_role("heading", name="Score")).to_be_visible()
    page.get_by_role("button", name="Measure the cost").click()
    start = page.get_by_role("button", name="Start scoring")
    expect(start).to_be_visible(timeout=SCORING_MS)
    expect(page.get_by_text("Pairs to score")).to_be_visible()
    settled(page)
    screenshot(page, "score-cost")
    start.click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Pairs per second")).to_be_visible(timeout=60_000)
    screenshot(page, "score-running")
    page.get_by_role("link", name="Data", exact=True).click()
    expect(page.get_by_role("heading", name="Data")).to_be_visible()
    page.get_by_role("link", name="Score", exact=True).click()
    expect(page.get_by_text("All 2,500 pairs are scored.")).to_be_visible(timeout=SCORING_MS)
    settled(page)
    screenshot(page, "score")


def select(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """Keeps the default selection."""
    page.get_by_role("link", name="Go on to Select").click()
    expect(page.get_by_role("heading", name="Chosen rows")).to_be_visible()
    settled(page)
    screenshot(page, "select")
    page.get_by_role("button", name="Keep this selection").click()
    expect(page.get_by_role("heading", name="Curate")).to_be_visible()


def curate(page: Page, settled: Settled, screenshot: Screenshot) -> int:
    """Drops the first pick by keyboard, takes it back, drops it again; returns its line."""
    settled(page)
    screenshot(page, "curate")
    first_row(page).click()
    settled(page)
    page.keyboard.press("o")
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("Picked 1st")).to_be_visible()
    settled(page)
    screenshot(page, "curate-why")
    line = int(re.search(r"[Ll]ine (\d+)", drawer.inner_text()).group(1))  # type: ignore[union-attr]
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    settled(page)  # the keys are the page's again
    for key, count in (("d", 1), ("u", 0), ("y", 1)):
        page.keyboard.press(key)
        expect(metric(page, "Dropped by hand")).to_contain_text(str(count))
        settled(page)
    return line


def first_row(page: Page) -> "Cell":
    """The selection box of the first row of the big table (the grid is drawn on a canvas)."""
    canvas = page.get_by_test_id("stDataFrame").first.locator("canvas").first
    return Cell(page, canvas, 16, 33 + 17)


class Cell:
    """A place on a canvas that can be clicked."""

    def __init__(self, page: Page, canvas: Locator, x: float, y: float) -> None:
        self.page, self.canvas, self.x, self.y = page, canvas, x, y

    def click(self) -> None:
        """Clicks there with the mouse."""
        box = self.canvas.bounding_box()
        assert box
        self.page.mouse.click(box["x"] + self.x, box["y"] + self.y)


def metric(page: Page, label: str) -> Locator:
    return page.get_by_test_id("stMetric").filter(has_text=label)


def lasso(page: Page, workspace: Path, settled: Settled, screenshot: Screenshot) -> set[int]:
    """Draws a lasso on the map; the rows that the page names are those whose points lie inside. Keeps them."""
    page.set_viewport_size({"width": 1440, "height": 900})  # below 520 px the chart has another margin
    page.goto("/explore?view=Map")
    chart = page.get_by_role("img", name=re.compile("^Map of 50 samples"))
    expect(chart).to_be_visible(timeout=120_000)
    settled(page)
    box = chart.bounding_box()
    assert box
    pool = load_file(sample_project_files().pool).samples
    points = pixels(pool, workspace, box["width"], box["height"])
    across, down = widest_gap(points[:, 0]), widest_gap(points[:, 1])
    inside, outline = fullest_corner(points, across, down, box["width"], box["height"])
    expected = {sample.line for sample, is_inside in zip(pool, inside, strict=True) if is_inside}
    assert 0 < len(expected) < len(pool)
    page.mouse.click(box["x"] + BRUSH_LASSO[0], box["y"] + BRUSH_LASSO[1])
    draw(page, [(box["x"] + x, box["y"] + y) for x, y in outline])
    picked = page.locator(".st-key-picked_rows")
    expect(picked).to_contain_text(f"{len(expected)} row")
    settled(page)
    screenshot(page, "explore-map")
    page.set_viewport_size({"width": 1280, "height": 900})
    shown = {int(number) for number in re.findall(r"\d+", named_lines(picked))}
    assert shown == set(sorted(expected)[: len(shown)])
    assert len(shown) == min(12, len(expected))
    page.get_by_role("button", name=re.compile("^Keep")).last.click()
    settled(page)
    return expected


def widest_gap(values: np.ndarray) -> float:
    """Where an edge passes no point closely (the mouse moves by whole pixels), with points on both sides of it."""
    ordered = np.sort(values)[len(values) // 5 : -(len(values) // 5)]
    gaps = np.diff(ordered)
    assert gaps.max() >= 4, "no gap that is wide enough for the mouse"
    return float(ordered[gaps.argmax()] + gaps.max() / 2)


def fullest_corner(
    points: np.ndarray, across: float, down: float, width: float, height: float
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Of the four parts of the map, the one with most points: which are inside, and its outline inside the grid."""
    columns = ((GRID["left"] + 2, across), (across, width - GRID["right"] - 2))
    rows = ((GRID["top"] + 2, down), (down, height - GRID["bottom"] - 2))
    parts = []
    for left, right in columns:
        for top, bottom in rows:
            inside = (points > (left, top)).all(axis=1) & (points < (right, bottom)).all(axis=1)
            parts.append((inside, [(left, top), (right, top), (right, bottom), (left, bottom)]))
    return max(parts, key=lambda part: int(part[0].sum()))


def named_lines(picked: Locator) -> str:
    """The part of the panel's text that names the lines, without "and n more"."""
    text = re.search(r"Lines ([\d, ]+)", picked.inner_text())
    assert text
    return text.group(1)


def pixels(pool: tuple[Sample, ...], workspace: Path, width: float, height: float) -> np.ndarray:
    """Where each pool row's point lies on the chart, from the scored embeddings themselves."""
    (context,) = (workspace / "utility").iterdir()
    embeddings = PairStore(context).alone([sample.content_hash for sample in pool]).embeddings
    coords = map_coordinates(embeddings).astype(float)
    low, high = coords.min(axis=0), coords.max(axis=0)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    share = (coords - low) / (high - low)
    inner = np.array([width - GRID["left"] - GRID["right"], height - GRID["top"] - GRID["bottom"]])
    return np.stack([GRID["left"] + share[:, 0] * inner[0], GRID["top"] + (1 - share[:, 1]) * inner[1]], axis=1)


def draw(page: Page, corners: list[tuple[float, float]]) -> None:
    """Drags the mouse around an outline."""
    page.mouse.move(*corners[0])
    page.mouse.down()
    for x, y in [*corners[1:], corners[0]]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()


def matrix(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """The heat map is drawn, and says in words what it shows."""
    page.goto("/explore")
    expect(page.get_by_role("heading", name="Distribution")).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "explore-matrix")


def export(page: Page, settled: Settled, screenshot: Screenshot, folder: Path) -> list[str]:
    """Writes, downloads, and returns the lines of the file, checked against the manifest."""
    page.get_by_role("link", name="Export", exact=True).click()
    page.get_by_role("button", name="Write the file").click()
    button = page.get_by_role("button", name=re.compile(r"^Download \S+\.jsonl \("))
    expect(button).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "export")
    with page.expect_download() as waiting:
        button.click()
    waiting.value.save_as(folder / "subset.jsonl")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Manifest").click()
    waiting.value.save_as(folder / "subset.manifest.json")
    lines = (folder / "subset.jsonl").read_text().splitlines()
    manifest = json.loads((folder / "subset.manifest.json").read_text())
    assert len(lines) == manifest["output"]["rows"]
    return lines
