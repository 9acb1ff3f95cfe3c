"""No statement is put together from values: only names that stand in this code may be set into SQL text."""

import ast
from collections.abc import Iterator
from pathlib import Path

import delift_core

PACKAGE = Path(delift_core.__file__).parent
# Local names that stand for names or marks written in the code itself, each looked at where it is used.
KNOWN = {"table", "columns", "parent", "marks", "extreme", "setting"}
WORDS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "SET ", "DROP ", "ALTER ")


def statements(tree: ast.AST) -> Iterator[ast.JoinedStr]:
    """The f-strings that begin like SQL."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node.values and _text(node.values[0]).lstrip().startswith(WORDS):
            yield node


def _text(node: ast.AST) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""


def set_in(statement: ast.JoinedStr) -> Iterator[str]:
    """What the f-string sets in, as source."""
    return (ast.unparse(part.value) for part in statement.values if isinstance(part, ast.FormattedValue))


def allowed(source: str) -> bool:
    return source in KNOWN or (source.isidentifier() and source.isupper())


def test_only_names_of_this_code_are_set_into_sql() -> None:
    found = {
        f"{path.name}:{statement.lineno}": [source for source in set_in(statement) if not allowed(source)]
        for path in PACKAGE.rglob("*.py")
        for statement in statements(ast.parse(path.read_text()))
    }
    assert len(found) > 10
    assert {place: sources for place, sources in found.items() if sources} == {}


def test_a_value_set_into_a_statement_would_be_found() -> None:
    (bad,) = statements(ast.parse('cursor.execute(f"SELECT 1 FROM runs WHERE id = {run_id}")'))
    assert [source for source in set_in(bad) if not allowed(source)] == ["run_id"]


def test_no_statement_is_put_together_in_another_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
                for side in (node.left, node.right):
                    assert not _text(side).lstrip().startswith(WORDS), f"{path.name}:{node.lineno}"
