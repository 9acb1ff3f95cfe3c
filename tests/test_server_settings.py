"""How the server is set up where nobody says otherwise: on this machine only, protected, and telling nobody."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("server", "address", "127.0.0.1"),
        ("server", "enableCORS", True),
        ("server", "enableXsrfProtection", True),
        ("browser", "gatherUsageStats", False),
    ],
)
def test_it_is_set_and_not_left_to_a_default(section: str, name: str, value: object) -> None:
    assert SETTINGS[section][name] == value


def test_streamlit_reads_it_so_and_warns_of_nothing() -> None:
    script = "from streamlit import config; print([config.get_option(n) for n in NAMES])"
    names = ["server.address", "server.enableCORS", "server.enableXsrfProtection", "browser.gatherUsageStats"]
    command = [sys.executable, "-c", f"NAMES = {names!r}; {script}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['127.0.0.1', True, True, False]" and "not compatible" not in done.stderr


def test_nothing_here_binds_wider() -> None:
    assert "0.0.0.0" not in (ROOT / "Makefile").read_text()
