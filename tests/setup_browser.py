"""Finds a Chromium for the browser tests, and installs one where there is none.

Knows nothing of the app or of pytest. Run as a script it installs; the tests call `find_browser` only.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The path of a Chromium that starts: the machine's own, else the one Playwright downloaded, else None."""
    for name in NAMES:
        path = shutil.which(name)
        if path and _starts(path):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if _starts(path) else None


def install_browser() -> None:
    """Installs Chromium: Debian's package where we may, else the build that Playwright downloads."""
    if _is_debian() and os.geteuid() == 0 and _install_with_apt():
        return
    playwright = [sys.executable, "-m", "playwright"]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # The download needs system libraries; on the rest of the Debian family root can install them.
        _run([*playwright, "install-deps", "chromium"])
    _run([*playwright, "install", "--no-shell", "chromium"])


def main() -> int:
    """Makes sure there is a browser; returns the exit status."""
    if find_browser():
        return 0
    print("No Chromium found: installing one for the browser tests.", flush=True)
    install_browser()
    path = find_browser()
    if path is None:
        print("No Chromium could be installed: install one by hand (apt-get install chromium), then try again.")
        return 1
    print(f"Browser tests use {path}.")
    return 0


def _starts(path: str) -> bool:
    """Whether the program runs at all: some packages put a stub on the path that only prints advice."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _is_debian() -> bool:
    release = Path("/etc/os-release")
    return release.exists() and "ID=debian" in release.read_text().splitlines()


def _install_with_apt() -> bool:
    # Without a font package every letter is an empty box.
    packages = ["chromium", "fonts-liberation"]
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", *packages]
    return _run(["apt-get", "update"]) and _run(install)


def _run(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, env=environment).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
