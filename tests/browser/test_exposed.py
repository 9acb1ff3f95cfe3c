"""A server that others can reach and that asks nobody who they are: it says so in the terminal and on the page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import AppServer, free_port

SAID = "Anybody on the network who reaches this server"


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
    for address in ("/", "/data"):
        page.goto(address)
        settled(page)
        expect(page.get_by_text(SAID)).to_be_visible()
