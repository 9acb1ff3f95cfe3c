"""The map while another job has the machine, in a real Chromium: it waits for nothing, and its layout comes later."""

import re
import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from delift_core.jobs.queue import Ticket, wait_for_device
from tests.browser.conftest import AppServer
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]
LAYOUT_MS = 240_000


def test_the_map_beside_a_job_is_rough_at_once_and_final_by_itself(
    page: Page, app_server: AppServer, settled: Settled
) -> None:
    make_scored_workspace(app_server.workspace, app_server.workspace.parent / "model")
    job = Ticket("r9", str(app_server.workspace.absolute()), time.time_ns())
    rough, chart = page.get_by_text("Rough layout"), page.get_by_role("img", name=re.compile("^Map of 16 rows"))
    with wait_for_device(job, "cpu"):
        page.goto("/explore?view=Map&selection=s1")
        expect(chart).to_be_visible(timeout=60_000)
        expect(rough).to_be_visible()
        page.get_by_role("textbox", name="Pick by row number").fill("1, 2")
        page.keyboard.press("Enter")
        expect(page.locator(".st-key-picked_rows")).to_contain_text("Rows 1, 2", timeout=30_000)
        expect(rough).to_be_visible()
    expect(rough).to_have_count(0, timeout=LAYOUT_MS)
    settled(page)
    expect(chart).to_be_visible()
    expect(page.locator(".st-key-picked_rows")).to_contain_text("Rows 1, 2")
