"""A curator's way in a real Chromium with the real bundled model: from the sample project to a downloaded JSONL.

One test, since scoring takes most of its time; where no pictures are taken, a part of the pairs is scored. Select,
read why a row was left out, pin it, choose again, lasso twelve points, drop them, undo, redo, restart the server,
compare with the first selection, export.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.data import sample_project_files
from delift_core.workspace import Workspace
from tests.browser.conftest import AppServer, open_first_row
from tests.browser.lasso import draw, kept_coordinates, lasso_around

ALL_PAIRS = os.environ.get("UPDATE_SCREENSHOTS") == "1"
SCORING_MS = 5_400_000 if ALL_PAIRS else 1_200_000
TWELVE, LEFT_OUT = 12, 35
CARDS = ("Rows in the subset", "Kept by hand", "Dropped by hand", "Coverage")

Settled = Callable[[Page], None]
Screenshot = Callable[..., None]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What the workspace holds while no server runs: lines of both subsets, and of what was kept and dropped."""

    first: frozenset[int]
    second: frozenset[int]
    pinned: frozenset[int]
    dropped: frozenset[int]


@pytest.mark.bundled
@pytest.mark.timeout(3 * 3600 if ALL_PAIRS else 1500)
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
    pinned = pin_a_row_left_out(page, settled, screenshot)
    choose_again(page, settled)
    lassoed = lasso_and_drop(page, app_server.workspace, settled, screenshot, tmp_path)
    found = restart(page, app_server, settled, screenshot)
    assert found.pinned == {pinned} - lassoed and found.dropped == lassoed
    look_at_the_rest(page, settled, screenshot)
    compare(page, found, settled, screenshot)
    export(page, found, settled, screenshot, tmp_path)
    assert external_requests == []


def score(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """Estimates the time, then scores with the bundled model; a click elsewhere is answered meanwhile."""
    expect(page.get_by_role("heading", name="Score")).to_be_visible()
    if not ALL_PAIRS:
        page.get_by_role("radio", name="Percent").click()
        page.get_by_role("spinbutton", name="Percent of the pairs").fill("4")
        page.keyboard.press("Enter")
        settled(page)
    page.get_by_role("button", name="Estimate time").click()
    start = page.get_by_role("button", name="Start scoring")
    expect(start).to_be_visible(timeout=SCORING_MS)
    expect(page.get_by_text("Pairs to score", exact=True)).to_be_visible()
    settled(page)
    screenshot(page, "score-cost")
    start.click()
    cancel, long = page.get_by_role("button", name="Cancel"), page.get_by_role("button", name="Start anyway")
    expect(cancel.or_(long)).to_be_visible(timeout=60_000)
    if long.is_visible():  # a busy machine may take more than an hour, by what was measured
        long.click()
    expect(cancel).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Pairs per second")).to_be_visible(timeout=60_000)
    if ALL_PAIRS:  # of a part of them the last may be scored before the first is seen
        expect(page.get_by_text(re.compile(r"^Scoring · [1-9][\d,]* of"))).to_be_visible(timeout=SCORING_MS)
        screenshot(page, "score-running")
    page.get_by_role("link", name="Data", exact=True).click()
    expect(page.get_by_role("heading", name="Data")).to_be_visible()
    page.get_by_role("link", name="Score", exact=True).click()
    expect(page.get_by_text(re.compile(r"[\d,]+ pairs are scored\."))).to_be_visible(timeout=SCORING_MS)
    settled(page)
    screenshot(page, "score")


def select(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """Keeps the default selection."""
    page.get_by_role("link", name="Continue to Select").click()
    expect(page.get_by_role("heading", name="Chosen rows")).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "select")
    page.get_by_role("button", name="Save selection").click()
    expect(page.get_by_role("heading", name="Curate")).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "curate")


def pin_a_row_left_out(page: Page, settled: Settled, screenshot: Screenshot) -> int:
    """Reads why the first row left out that a chosen one covers was left out, and pins it; returns its number."""
    page.get_by_text(f"Not in subset ({LEFT_OUT})", exact=True).click()
    settled(page)
    reader = open_first_row(page, settled)
    expect(reader.locator(".lead")).to_have_text(re.compile("^Left out"))
    beside = reader.get_by_text("Does the same job as:")  # the chosen row that covers it
    for _ in range(LEFT_OUT - 1):
        if beside.count():
            break
        page.keyboard.press("n")  # of a part of the pairs, some rows have none
        settled(page)
    expect(beside).to_be_visible()
    screenshot(page, "curate-why")
    line = int(reader.get_by_role("heading", level=2).inner_text().removeprefix("Row "))
    reader.get_by_role("button", name="Keep").click()
    expect(reader.get_by_role("status")).to_have_text(f"Kept: row {line}.")
    settled(page)
    expect(card(page, "Kept by hand")).to_contain_text("1")
    return line


def choose_again(page: Page, settled: Settled) -> None:
    """Chooses the others anew around the pin, by keyboard."""
    page.keyboard.press("a")  # after an installation, the first time compiles the loops that do it
    expect(page.get_by_text("Re-optimised around your edits")).to_be_visible(timeout=60_000)
    settled(page)
    expect(page.get_by_role("combobox", name="Selection")).to_have_value(re.compile(r" · round 2 · 15 chosen$"))
    expect(card(page, "Kept by hand")).to_contain_text("1")


def lasso_and_drop(
    page: Page, workspace: Path, settled: Settled, screenshot: Screenshot, folder: Path
) -> frozenset[int]:
    """Lassos twelve points; the page names and exports exactly these rows. Drops them, undoes, and redoes."""
    page.set_viewport_size({"width": 1440, "height": 900})  # the chart is wide enough for its usual margins
    page.get_by_role("link", name="Explore", exact=True).click()
    page.get_by_text("Map", exact=True).click()
    chart = page.get_by_role("img", name=re.compile("^Map of 50 rows"))
    expect(chart).to_be_visible(timeout=120_000)
    settled(page)
    expect(page.get_by_text("Rough layout")).to_have_count(0, timeout=240_000)  # the final map takes its place
    settled(page)
    box = chart.bounding_box()
    assert box
    lasso = lasso_around(TWELVE, kept_coordinates(workspace), box["width"], box["height"])
    draw(page, chart, lasso)
    picked = page.locator(".st-key-picked_rows")
    expect(picked).to_contain_text("12 rows")
    settled(page)
    lines = {position + 1 for position in lasso.inside}  # every row of the sample pool is scored, in file order
    assert lines_named(picked) == lines
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export 12 rows").click()
    waiting.value.save_as(folder / "picked.jsonl")
    assert (folder / "picked.jsonl").read_bytes() == records(lines)
    screenshot(page, "explore-map", draw_anew=to_and_fro)
    before = rows_in_the_subset(page)
    page.keyboard.press("d")
    said = page.get_by_text(re.compile(r"^Dropped: \d+ rows?"))
    expect(said).to_be_visible()
    gone = int(said.inner_text().split()[1])
    settled(page)
    after = rows_in_the_subset(page)
    assert before - after == gone > 0
    for key, done, count in (("u", "Undone", before), ("y", "Redone", after)):
        page.keyboard.press(key)
        expect(page.get_by_text(f"{done}: drop 12 rows")).to_be_visible()
        settled(page)
        assert rows_in_the_subset(page) == count
    return frozenset(lines)


def to_and_fro(page: Page) -> None:
    """Another use of the mouse on the map, and back."""
    for name in ("Add", "Replace"):
        page.get_by_role("radio", name=name).click()


def restart(page: Page, server: AppServer, settled: Settled, screenshot: Screenshot) -> OnDisk:
    """Ends the server under the open page; it comes back to the same state, which is what the disk holds meanwhile."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="Curate", exact=True).click()
    expect(page.get_by_text("Edit history (2)")).to_be_visible()
    settled(page)
    before = [card(page, label).inner_text() for label in CARDS]
    selection = page.get_by_role("combobox", name="Selection").input_value()
    server.stop()
    with Workspace.open(server.workspace) as workspace:
        first, second = (open_selection(workspace, name) for name in ("s1", "s2"))
        overrides = workspace.edits.overrides("s2")
    server.start()
    page.reload()
    settled(page)
    expect(page.get_by_text("Edit history (2)")).to_be_visible()
    assert [card(page, label).inner_text() for label in CARDS] == before
    assert page.get_by_role("combobox", name="Selection").input_value() == selection
    expect(page.get_by_test_id("stBottomBlockContainer").get_by_role("button", name="Undo")).to_be_enabled()
    screenshot(page, "curate-edited")
    line = {sample.id: sample.line for sample in second.samples}
    kept, dropped = (
        frozenset(line[name] for name, verdict in overrides.items() if verdict == wanted) for wanted in ("keep", "drop")
    )
    found = OnDisk(subset_lines(first), subset_lines(second), kept, dropped)
    assert number(page, CARDS[0]) == str(len(found.second))
    return found


def look_at_the_rest(page: Page, settled: Settled, screenshot: Screenshot) -> None:
    """The pages beside the way."""
    page.goto("/explore?selection=s2")
    expect(page.get_by_role("heading", name="Distribution")).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "explore-matrix")
    page.goto("/data?selection=s2")
    screenshot(page, "data")
    page.goto("/evaluate?selection=s2&evaluate_seeds=1&evaluate_against=Random+rows%2C+same+number")
    settled(page)
    if ALL_PAIRS:
        evaluate(page)
        screenshot(page, "evaluate")
    page.goto("/?selection=s2")
    screenshot(page, "home")


def evaluate(page: Page) -> None:
    """Fine-tunes on the subset and on random rows, once each, as long as that takes."""
    page.get_by_role("button", name="Estimate time").click()
    page.get_by_role("button", name="Start", exact=True).click(timeout=SCORING_MS)
    expect(page.get_by_role("button", name="Run again")).to_be_visible(timeout=SCORING_MS)


def compare(page: Page, found: OnDisk, settled: Settled, screenshot: Screenshot) -> None:
    """The first selection beside the second: what the page counts is what the disk holds."""
    page.goto("/compare?selection=s2")
    settled(page)
    for label, count in (
        ("In both", len(found.first & found.second)),
        ("Only in A", len(found.first - found.second)),
        ("Only in B", len(found.second - found.first)),
    ):
        assert number(page, label) == str(count), label
    screenshot(page, "compare")


def export(page: Page, found: OnDisk, settled: Settled, screenshot: Screenshot, folder: Path) -> None:
    """Writes and downloads the file: the records of the subset as they came in, byte for byte."""
    page.get_by_role("link", name="Export", exact=True).click()
    page.get_by_role("button", name="Export", exact=True).click()
    button = page.get_by_role("button", name=re.compile(r"^Download \S+\.jsonl \("))
    expect(button).to_be_visible(timeout=60_000)
    settled(page)
    screenshot(page, "export")
    for pressed, name in ((button, "subset.jsonl"), (page.get_by_role("button", name="Manifest"), "manifest.json")):
        with page.expect_download() as waiting:
            pressed.click()
        waiting.value.save_as(folder / name)
    written = (folder / "subset.jsonl").read_bytes()
    assert written == records(found.second)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["output"]["rows"] == len(found.second)
    assert manifest["output"]["sha256"] == hashlib.sha256(written).hexdigest()


def card(page: Page, label: str) -> Locator:
    """A number of the page by its label."""
    return page.get_by_test_id("stMetric").filter(has_text=label)


def number(page: Page, label: str) -> str:
    """The value on a card."""
    return card(page, label).get_by_test_id("stMetricValue").inner_text().strip()


def rows_in_the_subset(page: Page) -> int:
    """As the panel beside the map counts them."""
    return int(page.get_by_text("rows are in the subset of").inner_text().split()[0])


def lines_named(picked: Locator) -> set[int]:
    """The lines that the panel names."""
    named = re.search(r"Rows ([\d, ]+)", picked.inner_text())
    assert named
    return {int(number) for number in named.group(1).split(",")}


def records(lines: set[int] | frozenset[int]) -> bytes:
    """Some lines of the sample pool, in file order, as they stand there."""
    pool = sample_project_files().pool.read_bytes().splitlines(keepends=True)
    return b"".join(pool[line - 1] for line in sorted(lines))


def subset_lines(curated: CuratedSelection) -> frozenset[int]:
    """The lines of a selection's subset."""
    return frozenset(curated.samples[position].line for position in curated.subset.positions)
