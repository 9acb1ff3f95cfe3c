"""A server that others can reach and that asks nobody who they are: it says so in the terminal and on the page."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from delift_core.system.logs import newest_lines
from tests.browser.conftest import AppServer, free_port

SAID = "Anyone on the network can read"


@pytest.fixture(scope="module")
def app_server(server_workspace: Path) -> Iterator[AppServer]:
    server = AppServer(server_workspace, free_port(), address="0.0.0.0")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_it_says_so_in_the_terminal_before_anybody_visits_and_then_on_the_page(
    page: Page, app_server: AppServer, settled: Callable[[Page], None]
) -> None:
    assert f"WARNING: {SAID}" in app_server.output()
    assert [line["event"] for line in newest_lines(app_server.workspace, 9)] == ["server began", "warning"]
    with urllib.request.urlopen(f"{app_server.url}/api/health", timeout=20) as answer:
        said = json.loads(answer.read())
    assert answer.status == 200 and said["ok"] and str(app_server.workspace) not in str(said)
    for address in ("/", "/data", "/health"):
        page.goto(address)
        settled(page)
        expect(page.get_by_test_id("stAlertContentError").get_by_text(SAID)).to_be_visible()  # the log has it too
