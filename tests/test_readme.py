"""The README names commands, targets, pages and pictures that exist."""

import re
from pathlib import Path

from delift_core.cli.parser import build_parser
from pages.ui.shell.navigation import PAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"python -m delift_core (\w+)", README))
    (commands,) = [action for action in build_parser()._actions if action.dest == "name_of_command"]
    assert documented == set(commands.choices or ())


def test_every_page_is_on_the_way() -> None:
    way = README.split("## The way through the pages")[1].split("\n## ")[0]
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", way, flags=re.MULTILINE) == [page.title for page in PAGES]


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (run|test|setup|check|format)\b", README):
        assert re.search(rf"^{target}:.*##", makefile, flags=re.MULTILINE)


def test_every_picture_and_link_is_there() -> None:
    for path in re.findall(r"\]\(((?!https?:)[^)]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_page_is_shown_light_and_dark() -> None:
    shown = re.findall(r"\(screenshots/([\w-]+)\.png\)", (ROOT / "docs" / "pages.md").read_text())
    assert {f"{name}-dark" for name in shown if not name.endswith("-dark")} == {n for n in shown if n.endswith("-dark")}
    assert {page.name for page in PAGES} <= {name.partition("-")[0] for name in shown}
    assert all((ROOT / "docs" / "screenshots" / f"{name}.png").exists() for name in shown)


def test_every_benchmark_figure_has_its_command() -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text()
    for module in re.findall(r"python -m benchmarks\.(\w+)", table):
        assert (ROOT / "benchmarks" / f"{module}.py").exists()
