"""How long the curator's pages take with 100,000 rows and a sparse matrix, in a real Chromium.

    python -m benchmarks.workbench [--rows 100000] [--folder FOLDER]

A workspace is made without a model (see `large_workspace`), with its utilities put together and a selection of 10 %, as
a finished run and one visit to Select leave them; it holds no estimates. Then a server starts, and a visitor opens
pages for the first time: "first view" is from the address to the end of the page's script and the first table or chart.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Page

from benchmarks.large_workspace import build, keep_layout, select
from benchmarks.machine import machine
from benchmarks.served import served, visitor


def first_view(page: Page, address: str, drawn: str) -> float:
    """Seconds from the address to a page that has drawn something and whose script has run to its end."""
    began = time.monotonic()
    page.goto(address)
    page.locator(drawn).first.wait_for(timeout=120_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
    return time.monotonic() - began


def lasso(page: Page, wanted: int) -> tuple[float, int]:
    """Seconds from the end of a drag on the map until the panel lists the rows inside, and how many these are."""
    canvas = page.locator(".st-key-map_chart canvas").first
    box = canvas.bounding_box()
    assert box
    page.mouse.click(box["x"] + 25, box["y"] + 25)  # the box tool
    across = (box["width"] - 16) * (wanted / 100_000) ** 0.5
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - across / 2, y - across / 2)
    page.mouse.down()
    page.mouse.move(x + across / 2, y + across / 2, steps=4)
    began = time.monotonic()
    page.mouse.up()
    picked = page.locator(".st-key-picked_rows")
    picked.get_by_text(re.compile(r"^[\d,]+ rows")).wait_for(timeout=120_000)
    picked.locator("canvas").first.wait_for(timeout=120_000)
    seconds = time.monotonic() - began
    found = re.search(r"([\d,]+) rows", picked.inner_text())
    return seconds, int(found.group(1).replace(",", "")) if found else 0


def measure(workspace: Path, log: Path) -> list[tuple[str, str]]:
    """What is measured, and the figure, in the order of the visit."""
    with served(workspace, log) as (address, process), visitor(address) as page:
        rows = [("Curate, first view", f"{first_view(page, f'{address}/curate', CURATE_TABLE):.2f} s")]
        page.evaluate("() => { window.ends = [] }")
        rows.append(
            ("Explore (matrix), first view", f"{first_view(page, f'{address}/explore', '.js-plotly-plot'):.2f} s")
        )
        seconds = first_view(page, f"{address}/explore?view=Map", ".st-key-map_chart canvas")
        rows.append(("Explore (map), first view", f"{seconds:.2f} s"))
        seconds, found = lasso(page, 5_000)
        rows.append((f"a box around {found:,} points, to the table", f"{seconds:.2f} s"))
        rows.append(("Curate, again", f"{first_view(page, f'{address}/curate', CURATE_TABLE):.2f} s"))
        memory = psutil.Process(process).memory_info().rss / (1 << 30)
        rows.append(("memory of the server", f"{memory:.1f} GiB"))
    return rows


CURATE_TABLE = '[data-testid="stDataFrame"] canvas'


def main() -> None:
    """Prints a table of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the workspace there, or take the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "workspace"
        if not (folder / "delift.duckdb").exists():
            build(folder, options.rows)
            select(folder)
            keep_layout(folder)
        print(f"Machine: {machine()}\n\n| {options.rows:,} rows | |\n| --- | --- |")
        for what, figure in measure(folder, Path(name) / "server.log"):
            print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
