"""What `make quick` leaves out is marked, and nothing that it runs starts a browser, Ray or the bundled model."""

import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BROWSER_TESTS = TESTS / "browser"
# What a test module says that needs more than this process.
NEEDS = {
    "browser": r"^(from|import) (playwright|tests\.browser\.conftest)\b|streamlit[\"', ]+run\b",
    "ray": r"^(from|import) ray\b",
    "bundled": r"load_model\(\"bundled\"",
}


def test_every_browser_test_is_marked_and_no_other(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        is_marked = item.get_closest_marker("browser") is not None
        assert is_marked == item.path.is_relative_to(BROWSER_TESTS), item.nodeid


@pytest.mark.parametrize("lane", NEEDS)
def test_a_module_that_needs_more_than_this_process_is_in_the_lane_for_it(lane: str) -> None:
    modules = {path: path.read_text("utf-8") for path in TESTS.rglob("test_*.py")}
    needy = {path for path, text in modules.items() if re.search(NEEDS[lane], text, re.MULTILINE)}
    in_lane = {path for path, text in modules.items() if f"\npytestmark = pytest.mark.{lane}\n" in text}
    if lane == "browser":  # marked by tests/conftest.py
        in_lane = set(BROWSER_TESTS.iterdir())
    assert needy
    assert not [path.name for path in needy - in_lane]


def test_make_quick_leaves_out_every_lane() -> None:
    settings = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))
    lanes = [marker.partition(":")[0] for marker in settings["tool"]["pytest"]["ini_options"]["markers"]]
    assert f"-m '{' and '.join(f'not {lane}' for lane in lanes)}'" in (TESTS.parent / "Makefile").read_text("utf-8")
