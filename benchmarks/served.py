"""A server of the app on a free port, and a page in Chromium whose clicks are timed."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.setup_browser import find_browser

_START_SECONDS = 90
_CALM_MS = 400  # Streamlit sends a moved slider after up to 200 ms
_PATIENCE_MS = 120_000
# When the app's script ends is an attribute of its outermost element; the times of these ends are noted in the page.
_WATCH = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    window.ends = [];
    new MutationObserver(() => {
        if (app.dataset.testScriptState === "notRunning") window.ends.push(performance.now());
    }).observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]});
}"""
_CALM = """([began, calm]) => {
    const app = document.querySelector('[data-testid="stApp"]');
    const last = window.ends[window.ends.length - 1];
    return app.dataset.testScriptState === "notRunning" && last > began && performance.now() - last > calm;
}"""


@contextmanager
def served(
    workspace: Path, log: Path, *options: str, delift: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`streamlit run app.py` on a workspace, on a free port: its address and its process, ended at the end.

    Args:
        options: more words of the command line.
        delift: the script of another environment, whose `delift studio` serves instead.

    Raises:
        RuntimeError: the server did not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), *options]
    if delift is not None:
        command = [str(delift), "studio", "--headless", "--port", str(port), *options]
    environment = {**os.environ, "DELIFT_WORKSPACE": str(workspace)}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/_stcore/health", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def visitor(address: str) -> Iterator[Page]:
    """A page of 1280 x 900 that has opened an address."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        watch(page)
        yield page
        browser.close()


def watch(page: Page) -> None:
    """Waits until a newly opened page is idle, and then records when its script ends."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=_PATIENCE_MS)
    page.wait_for_timeout(_CALM_MS)
    page.evaluate(_WATCH)


def answer_seconds(page: Page, act: Callable[[], object]) -> float:
    """Seconds from an action of the visitor to the end of the last script run that it caused."""
    began = page.evaluate("() => performance.now()")
    act()
    page.wait_for_function(_CALM, arg=[began, _CALM_MS], timeout=_PATIENCE_MS)
    return float(page.evaluate("() => window.ends[window.ends.length - 1]") - began) / 1000


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the app did not start; see its log")
