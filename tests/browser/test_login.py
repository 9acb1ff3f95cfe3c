"""Streamlit's login against a provider on this machine: in as a curator, an edit in one's own name, and out again."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from delift_core.workspace import Workspace
from tests.browser.conftest import AppServer, free_port, reader_of
from tests.browser.oidc import Provider
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def app_server(server_workspace: Path, provider: Provider) -> Iterator[AppServer]:
    """A server that asks who one is: Ada is a curator, nobody else has a role."""
    make_scored_workspace(server_workspace, server_workspace.parent / "model")
    (server_workspace / "access.toml").write_text('curators = ["ada@example.org"]\n')
    port = free_port()
    secrets = server_workspace.parent / "secrets.toml"
    secrets.write_text(provider.secrets(f"http://127.0.0.1:{port}/oauth2callback"))
    server = AppServer(server_workspace, port, options=("--secrets.files", str(secrets)))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_curator_logs_in_edits_in_their_name_and_logs_out(
    page: Page, app_server: AppServer, provider: Provider, settled: Settled, external_requests: list[str]
) -> None:
    page.goto("/curate")
    settled(page)
    expect(page.get_by_text("Log in to continue.")).to_be_visible()
    assert page.locator("[data-testid=stDataFrame]").count() == 0
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(re.compile("ada.?@example.org · curator"))).to_be_visible(timeout=30_000)
    assert {"/authorize", "/token", "/jwks"} <= set(provider.seen)
    first = page.evaluate("() => document.cookie")
    assert "_streamlit_user" not in first  # scripts of the page cannot read who is logged in
    with Workspace.open(_copy(app_server.workspace)) as opened:
        sample = opened.datasets.load(opened.datasets.records("pool")[0].id).samples[0].id
    page.goto(f"/curate?row={sample}")
    settled(page)
    reader_of(page).get_by_role("button", name="Drop").click()
    expect(reader_of(page).get_by_role("status")).to_have_text(re.compile("^Dropped: row 1"))
    settled(page)
    expect(page.get_by_text("Edited (1)")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("Log in to continue.")).to_be_visible(timeout=30_000)
    assert external_requests == []


def test_who_is_not_on_the_list_stays_outside(page: Page, provider: Provider, settled: Settled) -> None:
    provider.email = "eve@example.org"
    page.goto("/")
    settled(page)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("has no access here")).to_be_visible(timeout=30_000)
    page.goto("/data")
    settled(page)
    expect(page.get_by_text("has no access here")).to_be_visible()


def test_no_secret_of_the_login_is_written_anywhere(app_server: AppServer, provider: Provider) -> None:
    app_server.stop()
    with Workspace.open(app_server.workspace) as workspace:
        (edit,) = workspace.edits.history("s1")
        assert (edit.action, edit.author) == ("drop", "ada@example.org")
    written = [path for path in app_server.workspace.rglob("*") if path.is_file()] + [app_server.log]
    for path in written:
        assert b"must-not-leak" not in path.read_bytes(), path


def _copy(workspace: Path) -> Path:
    """A copy of a workspace that the server holds open."""
    folder = workspace.parent / "copy"
    shutil.copytree(workspace, folder, dirs_exist_ok=True)
    return folder
