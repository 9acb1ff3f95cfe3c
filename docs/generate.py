"""Writes the reference pages of docs/: the commands from the argument parser, the Python API from its docstrings.

    python -m docs.generate

tests/test_docs.py fails when a page is not what this script would write.
"""

import argparse
import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import delift_core
from delift_core.cli.parser import build_parser

FOLDER = Path(__file__).parent
_WRITTEN_BY = "<!-- Written by `make docs`; change the help texts or docstrings instead. -->"
_EXIT_CODES = """\
Exit codes: 0 done; 1 a check failed; 2 wrong input, and one line on stderr says what, where and what to do;
130 interrupted, and everything scored so far is kept."""
_SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Example:")
_Definition = ast.FunctionDef | ast.ClassDef


def pages() -> dict[Path, str]:
    """The text of each generated page, by its path."""
    made = {FOLDER / "commands.md": commands_page(build_parser())}
    if hasattr(delift_core, "__all__"):
        made[FOLDER / "api.md"] = api_page(delift_core)
    return made


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name."""
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(action.choices)


def commands_page(parser: argparse.ArgumentParser) -> str:
    """Every command with its arguments; an option that several commands share stands once, in a table of its own."""
    rows = {name: list(_rows(command)) for name, command in subcommands(parser).items()}
    users: dict[tuple[str, str], list[str]] = {}
    for name, of_command in rows.items():
        for row in of_command:
            users.setdefault(row, []).append(name)
    shared = {row for row, names in users.items() if len(names) > 1 and row[0].startswith("`--")}
    lines = ["# Commands", "", _WRITTEN_BY, "", _EXIT_CODES]
    for name, command in subcommands(parser).items():
        lines += ["", f"## {name}", "", command.description or "", "", f"    {_usage(command)}"]
        lines += _table("Argument", [row for row in rows[name] if row not in shared])
        also = [f"`{words.strip('`').split()[0]}`" for words, _ in rows[name] if (words, _) in shared]
        lines += ["", f"Shared options: {', '.join(also)}."]
    return "\n".join([*lines, "", "## Shared options", *_table("Option", sorted(shared))]) + "\n"


def api_page(package: ModuleType) -> str:
    """Every public name of a package, in the order of its `__all__`."""
    values = {name: getattr(package, name) for name in package.__all__ if not name.startswith("__")}
    lines = ["# Python API", "", _WRITTEN_BY, "", *(package.__doc__ or "").strip().splitlines()[:1]]
    for name, value in values.items():
        lines += ["", f"## {name}", ""]
        if inspect.isclass(value) or inspect.isfunction(value):
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
            assert isinstance(node, _Definition)
            lines += describe(node, name)
        elif isinstance(value, Mapping):
            lines += ["| Name | Title | Which rows it prefers | Source |", "| --- | --- | --- | --- |"]
            lines += [f"| `{key}` | {one.title} | {one.summary} | {one.source} |" for key, one in value.items()]
    return "\n".join(lines) + "\n"


def describe(node: _Definition, name: str) -> list[str]:
    """A function or class, and its public members, in Markdown.

    Args:
        name: the public name, which may differ from the one in the source.
    """
    if isinstance(node, ast.FunctionDef):
        return [*_signature(name, node), "", *_docstring(node)]
    lines = _docstring(node)
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            decorators = [ast.unparse(one).split(".")[-1] for one in member.decorator_list]
            is_property = any(one in ("property", "cached_property") for one in decorators)
            as_value = [f"    {member.name}: {_annotation(member.returns)}"]
            code = as_value if is_property else _signature(member.name, member)
            lines += ["", f"### {name}.{member.name}", "", *code, "", *_docstring(member)]
    return lines


def _usage(parser: argparse.ArgumentParser) -> str:
    required = [
        f"{action.option_strings[0]} {_value(action)}" if action.option_strings else _value(action)
        for action in sorted(parser._actions, key=lambda action: bool(action.option_strings))
        if action.required
    ]
    return " ".join([parser.prog, *required, "[options]"])


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """How each argument is written, and its help."""
    formatter: Any = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        words = " ".join([*action.option_strings[:1], *([] if action.nargs == 0 else [_value(action)])])
        help_text = formatter._expand_help(action) if action.help else ""
        if action.choices and action.metavar and not all(str(choice) in help_text for choice in action.choices):
            help_text += f"; one of: {', '.join(map(str, action.choices))}"
        if action.required and action.option_strings:
            help_text = f"required; {help_text}"
        yield f"`{words}`", help_text.replace("|", "\\|")


def _value(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    return f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()


def _table(heading: str, rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return [
        "",
        f"| {heading} | Meaning |",
        "| --- | --- |",
        *(f"| {words} | {help_text} |" for words, help_text in rows),
    ]


def _signature(name: str, node: ast.FunctionDef) -> list[str]:
    """A function as it is called: on one line, or with a line for each parameter."""
    positional = [one for one in node.args.args if one.arg not in ("self", "cls")]
    defaults = [*[None] * (len(positional) - len(node.args.defaults)), *node.args.defaults]
    written = [_parameter(*one) for one in zip(positional, defaults, strict=True)]
    if node.args.kwonlyargs:
        written += ["*", *(_parameter(*one) for one in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))]
    result = f") -> {_annotation(node.returns)}"
    line = f"    {name}({', '.join(written)}{result}"
    if len(line) <= 110:
        return [line]
    return [f"    {name}(", *(f"        {one}," for one in written), f"    {result}"]


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    return f"{argument.arg}: {_annotation(argument.annotation)}" + (f" = {ast.unparse(default)}" if default else "")


def _annotation(node: ast.expr | None) -> str:
    """An annotation as it reads, without the quotes of one that is a string."""
    if node is None:
        return "None"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _docstring(node: _Definition) -> list[str]:
    """A docstring in Markdown: its sections become lists, examples become code."""
    lines: list[str] = []
    for block in _blocks((ast.get_docstring(node) or "").splitlines()):
        heading, body = block[0], block[1:]
        if heading == "Example:":
            lines += [heading, "", *(line.partition("  # doctest")[0] for line in body), ""]
        elif heading == "Returns:":
            lines += [f"{heading} {' '.join(line.strip() for line in body)}", ""]
        elif heading in _SECTIONS:
            lines += [heading.replace("Args", "Arguments"), "", *_items(textwrap.dedent("\n".join(body))), ""]
        else:
            lines += [*block, ""]
    return lines[:-1]


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """A docstring cut into its sections, each a heading and its lines, and the texts before and after them."""
    block: list[str] = []
    for line in lines:
        is_after_section = bool(block) and block[0] in _SECTIONS and bool(line) and not line.startswith(" ")
        if block and (line in _SECTIONS or is_after_section):
            yield "\n".join(block).strip("\n").splitlines()
            block = []
        block.append(line)
    if any(block):
        yield "\n".join(block).strip("\n").splitlines()


def _items(text: str) -> list[str]:
    """The items of a section as a list; an indented line continues the item above it."""
    items: list[str] = []
    for line in filter(None, text.splitlines()):
        if line.startswith(" "):
            items[-1] += f" {line.strip()}"
        else:
            name, colon, words = line.partition(": ")
            is_named = colon and " " not in name.replace(", ", "")
            items.append(f"- `{name}`: {words}" if is_named else f"- {line}")
    return items


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
