"""README and docs/ are true: what they name exists, their commands parse, and generated pages match the code."""

import argparse
import ast
import inspect
import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import delift_core
from delift_core.cli.parser import build_parser
from delift_core.system.access import read_access
from docs.generate import api_page, commands_page, pages, subcommands
from pages.ui.shell.navigation import PAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = (DOCS / "commands.md", DOCS / "api.md")
WRITTEN = [ROOT / "README.md", *(path for path in sorted(DOCS.rglob("*.md")) if path not in GENERATED)]
EVERY_PAGE = [*WRITTEN, *(path for path in GENERATED if path.exists()), *sorted((ROOT / "benchmarks").glob("*.md"))]
TEXT = "\n".join(path.read_text() for path in WRITTEN)
COMMAND_LINES = sorted(set(re.findall(r"(?:python -m delift_core|(?:^    |`)delift) ([^`\n]+)", TEXT, re.MULTILINE)))


def of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    assert {line.split()[0] for line in COMMAND_LINES} == set(subcommands(build_parser()))


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_one_that_the_parser_takes(line: str) -> None:
    assert build_parser().parse_args(shlex.split(line)).name_of_command == line.split()[0]


def test_every_option_that_is_named_exists() -> None:
    options = {option for one in subcommands(build_parser()).values() for option in one._option_string_actions}
    of_ours = re.sub(r"(python -m benchmarks|uvx|streamlit r)[^`\n]+", "", TEXT)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w.-])", of_ours))
    assert named and named <= options


def test_generated_pages_are_what_the_code_says() -> None:
    for path, text in pages().items():
        assert path.read_text() == text, f"{of(path)} is out of date: run make docs"


def test_the_readme_names_every_package_and_every_module_beside_them() -> None:
    tree = (ROOT / "README.md").read_text().split("## Layout")[1].split("\n## ")[0]
    named = re.findall(r"^      (\w+)(?:/|\.py) ", tree, flags=re.MULTILINE)
    found = (
        path for path in (ROOT / "delift_core").iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"
    )
    assert sorted(named) == sorted(path.stem for path in found if not path.name.startswith("_"))
    folders = re.findall(r"^    (\w+(?:/|\.py)) ", tree, flags=re.MULTILINE)
    assert folders and all((ROOT / name).exists() for name in folders)


def test_the_python_that_is_shown_calls_what_is_public() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    nodes = list(ast.walk(ast.parse(code)))
    calls = {ast.unparse(node.func): node for node in nodes if isinstance(node, ast.Call)}
    of_package = {name.removeprefix("delift."): node for name, node in calls.items() if name.startswith("delift.")}
    assert set(of_package) == {"score", "select"}
    for name, call in of_package.items():
        options = {one.arg: one.value for one in call.keywords if one.arg}
        inspect.signature(getattr(delift_core, name)).bind(*call.args, **options)
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "subset"}
    assert used and all(hasattr(delift_core.Subset, name) for name in used)


def test_every_page_of_the_app_is_on_the_way() -> None:
    way = (DOCS / "get-started.md").read_text().split("## The way through the pages")[1].split("\n## ")[0]
    assert re.findall(r"^\d\. \*\*(\w+)\*\*", way, flags=re.MULTILINE) == [page.title for page in PAGES]


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^ +|=1 )make (\w+)", TEXT, flags=re.MULTILINE))
    assert named >= {"run", "setup", "check", "test", "quick", "fuzz", "docs"}
    for target in named:
        assert re.search(rf"^{target}:.*##", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("path", EVERY_PAGE, ids=of)
def test_every_picture_and_link_is_there(path: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", [*EVERY_PAGE, ROOT / "Makefile", ROOT / "CHANGELOG.md"], ids=of)
def test_every_file_that_is_named_exists(path: Path) -> None:
    named = re.findall(
        r"(?<![\w/])(?:tests|delift_core|pages|benchmarks|docs)/[\w/-]+\.(?:py|md|toml)", path.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {of(path) for path in DOCS.rglob("*.md")}


def test_every_page_is_shown_light_and_dark() -> None:
    shown = re.findall(r"\(screenshots/([\w-]+)\.png\)", (DOCS / "pages.md").read_text())
    assert {f"{name}-dark" for name in shown if not name.endswith("-dark")} == {n for n in shown if n.endswith("-dark")}
    assert {page.name for page in PAGES} <= {name.partition("-")[0] for name in shown}
    assert all((DOCS / "screenshots" / f"{name}.png").exists() for name in shown)


@pytest.mark.parametrize("path", EVERY_PAGE, ids=of)
def test_every_benchmark_command_exists(path: Path) -> None:
    for module in re.findall(r"python -m benchmarks\.(\w+)", path.read_text()):
        assert (ROOT / "benchmarks" / f"{module}.py").exists(), module


def test_every_environment_variable_is_documented_and_every_documented_one_is_read() -> None:
    sources = [ROOT / "app.py", *(ROOT / "delift_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "settings.md").read_text(), flags=re.MULTILINE))
    assert {name for name in documented if name.startswith("DELIFT_")} == set(re.findall(r'"(DELIFT_\w+)"', code))
    assert all(f'"{name}"' in code for name in documented)


def test_the_files_of_a_server_are_read_as_they_are_shown(tmp_path: Path) -> None:
    login, roles = re.findall(r"```toml\n(.*?)```", (DOCS / "how-to" / "server.md").read_text(), flags=re.DOTALL)
    assert set(tomllib.loads(login)["auth"]) >= {"redirect_uri", "cookie_secret", "client_id", "server_metadata_url"}
    (tmp_path / "access.toml").write_text(roles)
    access = read_access(tmp_path)
    assert access.roles == {"ada@example.org": "admin", "grace@example.org": "curator"}
    assert access.default is None


def test_a_command_page_has_what_the_parser_has() -> None:
    parser = argparse.ArgumentParser(prog="tool")
    commands = parser.add_subparsers(required=True)
    copy = commands.add_parser("copy", description="Copy a file.")
    copy.add_argument("file", metavar="FILE", help="a file")
    copy.add_argument("--to", required=True, metavar="DIR", help="a folder | none")
    move = commands.add_parser("move", description="Move a file.")
    for command in (copy, move):
        command.add_argument("--kind", default="a", choices=("a", "b"), metavar="KIND", help="default: %(default)s")
    text = commands_page(parser)
    assert "    tool copy FILE --to DIR [options]" in text
    assert "| `--to DIR` | required; a folder \\| none |" in text
    assert text.count("| `--kind KIND` | default: a; one of: a, b |") == 1
    assert text.count("Shared options: `--kind`.") == 2


SHOP = '''"""A shop."""
__all__ = ["Shelf", "stock"]

class Shelf:
    """Where goods lie.

    Attributes:
        goods: what lies there,
            in order.
    """

    @property
    def size(self) -> int:
        """How many goods."""
        return 0

    def _hidden(self) -> None:
        """Not public."""

def stock(goods: "list[str]", *, shelf: Shelf | None = None) -> Shelf:
    """Puts goods on a shelf.

    Args:
        goods: names.
        shelf: an old one.

    Raises:
        ValueError: no goods.

    Example:
        >>> stock(["tea"])  # doctest: +SKIP
    """
    raise ValueError
'''


def test_an_api_page_has_signatures_and_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_test_docs.py").write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = api_page(import_module("shop_of_test_docs"))
    assert "    stock(goods: list[str], *, shelf: Shelf | None = None) -> Shelf\n" in text
    assert "- `goods`: what lies there, in order.\n" in text
    assert "### Shelf.size\n\n    size: int\n\nHow many goods." in text
    assert 'Raises:\n\n- `ValueError`: no goods.\n\nExample:\n\n    >>> stock(["tea"])\n' in text
    assert "hidden" not in text
