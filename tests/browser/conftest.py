"""The real app in a real Chromium: a server per test module, a page per test, no way out of this machine."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    ViewportSize,
    WebSocket,
    expect,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError

from tests.browser.pictures import PICTURES, Picture
from tests.browser.worked import Worked, make_worked_workspace
from tests.setup_browser import find_browser

expect.set_options(timeout=20_000)  # a busy machine is slow to answer, not wrong

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "docs" / "screenshots"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No other machine is found: what a page asks of one fails, and is noted by the page's fixture below.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
OUTSIDE = re.compile(r"^(?:https?|wss?)://(?!(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:/|$))")
START_SECONDS = 90
# Streamlit waits up to 200 ms before it sends a moved slider or a typed number, so a shorter calm proves nothing.
CALM_MS = 400
SETTLE_MS = 60_000
POLL_MS = 50
# As the Back button does: the app goes to another page without being loaded again, which takes several seconds.
GO = """address => {
    history.pushState({}, "", address);
    window.dispatchEvent(new PopStateEvent("popstate"));
}"""
# A run that was asked for while another went on begins some time after that one has ended (Streamlit first collects
# garbage), and until then the page looks finished. Only the component knows: it waits for word of a new run.
IS_CALM = """calm => {
    const app = document.querySelector('[data-testid="stApp"]');
    let fiber = app?.[Object.keys(app).find(key => key.startsWith("__reactFiber$"))];
    while (fiber && typeof fiber.stateNode?.hasReceivedNewSession !== "boolean") fiber = fiber.return;
    if (app && !fiber) throw new Error("Streamlit's App component keeps no hasReceivedNewSession any more");
    // A new visitor's first run draws no page; skeletons are parts of one whose script is on its way.
    const drawn = document.querySelector("h1") && !document.querySelector('[data-testid=stSkeleton]');
    const begun = fiber?.stateNode.hasReceivedNewSession;
    const {testScriptState: script, testConnectionState: connection} = app?.dataset ?? {};
    const idle = drawn && begun && script === "notRunning" && connection === "CONNECTED";
    window.idleSince = idle ? (window.idleSince ?? performance.now()) : null;
    return idle && performance.now() - window.idleSince >= calm;
}"""


@dataclass(slots=True)
class AppServer:
    """The app on a port of its own: `streamlit run app.py` over a workspace, which can be ended and begun again."""

    workspace: Path
    port: int
    options: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Where what it prints goes."""
        return self.workspace.parent / "server.log"

    def start(self) -> None:
        """Begins it, and waits until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        command += ["--server.address", self.address, "--server.port", str(self.port)]
        command += self.options
        environment = {**os.environ, "DELIFT_WORKSPACE": str(self.workspace), "PYTHONUNBUFFERED": "1"}
        environment.pop("OMP_NUM_THREADS", None)  # here a real model scores, on every core
        # Files lie in the home folder, as they do for most people; converted models are where they were.
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        environment |= {"HOME": str(self.workspace.parent.resolve()), "XDG_CACHE_HOME": cache}
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
        _wait_until_healthy(self)

    def stop(self) -> None:
        """Ends it; its workspace is closed afterwards."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def output(self) -> str:
        """Everything the server printed so far."""
        return self.log.read_text(errors="replace")

    def fail_if_dead(self) -> None:
        """Fails the test, with the server's output, where the server has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"The app server ended with status {self.process.returncode}:\n{self.output()}", pytrace=False)


@pytest.fixture(scope="module")
def server_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server's workspace lies: empty, unless a module fills it before the server starts."""
    return tmp_path_factory.mktemp("app") / "workspace"


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    """A workspace with something on every page, for modules whose `server_workspace` it is."""
    return make_worked_workspace(tmp_path_factory.mktemp("worked") / "workspace")


@pytest.fixture(scope="module")
def app_server(server_workspace: Path) -> Iterator[AppServer]:
    """The app on a free port with a workspace, shared by the tests of one module."""
    server = AppServer(server_workspace, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests."""
    path = find_browser()
    if path is None:
        pytest.fail("No Chromium found: run `make setup`.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def external_requests() -> list[str]:
    """The URLs beyond this machine that the test's `page` asked for, none of which was answered."""
    return []


@pytest.fixture(scope="module")
def visitors(browser: Browser, app_server: AppServer) -> Iterator[tuple[BrowserContext, BrowserContext]]:
    """Two visitors of the module's server, who share nothing. Both keep the app's own files from test to test: to fetch
    and compile them takes as long as a page does."""
    size: ViewportSize = {"width": 1280, "height": 900}
    contexts = [browser.new_context(base_url=app_server.url, viewport=size, service_workers="block") for _ in range(2)]
    yield contexts[0], contexts[1]
    for context in contexts:
        context.close()


@pytest.fixture
def page(
    visitors: tuple[BrowserContext, BrowserContext], app_server: AppServer, external_requests: list[str]
) -> Iterator[Page]:
    """A fresh page, 1280 x 900, whose relative addresses lead to the app: `page.goto("/")`. It knows nothing of the
    pages of other tests.

    What it asks of other machines is noted, not routed: a route would switch off the browser's cache, and a third of
    the time that a page takes is the app's own files.
    """

    def note(asked: Request | WebSocket) -> None:
        if OUTSIDE.match(asked.url):
            external_requests.append(asked.url)

    with fresh_page(visitors[0]) as page:
        page.on("request", note)
        page.on("websocket", note)
        yield page
    app_server.fail_if_dead()


@pytest.fixture(scope="module")
def lasting_page(visitors: tuple[BrowserContext, BrowserContext]) -> Iterator[Page]:
    """One page that goes on from test to test, with all that was set on the way."""
    with fresh_page(visitors[0]) as page:
        yield page


@pytest.fixture
def somebody_else(visitors: tuple[BrowserContext, BrowserContext]) -> Iterator[Page]:
    """A fresh page of another visitor."""
    with fresh_page(visitors[1]) as page:
        yield page


def tick_first_row(page: Page, settled: Callable[[Page], None]) -> None:
    """Ticks the first row of Curate's table, which is drawn on a canvas, and waits until the buttons know."""
    page.locator(".dvn-scroller").first.click(position={"x": 15, "y": 33 + 16})
    expect(page.get_by_text("1 row ticked")).to_be_visible()
    settled(page)


def open_first_row(page: Page, settled: Callable[[Page], None]) -> Locator:
    """Clicks the first row of Curate's table; returns the reader, with what belongs to the row."""
    page.locator(".dvn-scroller").first.click(position={"x": 60, "y": 33 + 16})
    settled(page)
    return reader_of(page)


def reader_of(page: Page) -> Locator:
    """Where Curate shows the open row."""
    return page.locator(".st-key-reading")


@contextmanager
def fresh_page(visitor: BrowserContext) -> Iterator[Page]:
    """A page of a visitor who has been nowhere before, and whose pages are closed afterwards."""
    yield visitor.new_page()
    for opened in visitor.pages:
        with suppress(PlaywrightError):  # a page that leads nowhere keeps nothing
            opened.evaluate("localStorage.clear()")
        opened.close()
    visitor.clear_cookies()


@pytest.fixture
def settled() -> Callable[[Page], None]:
    """`settled(page)` waits until the app has run its script to the end, is drawn, and stays calm."""

    def wait(page: Page) -> None:
        page.evaluate("() => { window.idleSince = null; }")
        page.wait_for_function(IS_CALM, arg=CALM_MS, timeout=SETTLE_MS, polling=POLL_MS)

    return wait


@pytest.fixture
def visit(settled: Callable[[Page], None]) -> Callable[[Page, str], None]:
    """`visit(page, "/data")` goes to another page of the app in the same session, as a link in its menu does, and
    waits until it is drawn; what the session holds counts for more than the address. `page.goto` begins a new session.
    """

    def go(page: Page, address: str) -> None:
        if page.url == "about:blank":
            page.goto(address)
        else:
            page.evaluate(GO, address)
        settled(page)

    return go


@pytest.fixture
def screenshot(
    tmp_path: Path, browser: Browser, app_server: AppServer, settled: Callable[[Page], None]
) -> Callable[..., None]:
    """`screenshot(page, name)` writes a PNG into the test's own folder; with UPDATE_SCREENSHOTS=1 into docs/, and
    beside it what a visitor whose system is dark sees at the same address: charts take their colours when made.

    What the address does not hold, such as a lasso, no other visitor sees: with `draw_anew`, which makes the app draw
    the page again without a change, the page itself turns dark instead. For docs/ a picture must show what its caption
    says (`tests.browser.pictures`), and nothing of this machine.
    """
    for_docs = os.environ.get("UPDATE_SCREENSHOTS") == "1"
    folder = SCREENSHOTS if for_docs else tmp_path

    def turn(page: Page, scheme: Literal["light", "dark"], draw_anew: Callable[[Page], None]) -> None:
        page.emulate_media(color_scheme=scheme)
        draw_anew(page)
        page.mouse.move(0, 0)
        settled(page)

    def shoot(page: Page, picture: Picture, name: str) -> None:
        settled(page)
        if for_docs:
            wait_until_shown(page, picture, name)
        page.screenshot(path=folder / f"{name}.png", animations="disabled")

    def take(page: Page, name: str, *, draw_anew: Callable[[Page], None] | None = None) -> None:
        picture, size = PICTURES[name], page.viewport_size
        assert size
        page.mouse.move(0, 0)  # no tooltips
        page.set_viewport_size({"width": size["width"], "height": picture.height or size["height"]})
        shoot(page, picture, name)
        if for_docs and draw_anew is not None:
            turn(page, "dark", draw_anew)
            shoot(page, picture, f"{name}-dark")
            turn(page, "light", draw_anew)
        elif for_docs:
            context = browser.new_context(viewport=page.viewport_size, color_scheme="dark")
            dark = context.new_page()
            dark.goto(page.url)
            shoot(dark, picture, f"{name}-dark")
            context.close()
        page.set_viewport_size(size)

    return take


def wait_until_shown(page: Page, picture: Picture, name: str) -> None:
    """A run's first pairs, or a chart's last frame, may come a moment after the page is calm."""
    deadline = time.monotonic() + SETTLE_MS / 1000
    while faults := picture.faults(page):
        if time.monotonic() > deadline:
            pytest.fail(f"The picture {name} does not show what it says:\n" + "\n".join(faults), pytrace=False)
        page.wait_for_timeout(500)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: AppServer) -> None:
    for _ in range(START_SECONDS * 5):
        server.fail_if_dead()
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        assert server.process
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=0.2)
    pytest.fail(f"The app server did not answer within {START_SECONDS} s:\n{server.output()}", pytrace=False)
