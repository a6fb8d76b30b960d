"""A stranger reads one thing at a time, so what is too large is cut while that is easy. Docstrings are not counted."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "worker" / "argosy"
MODULE, CLASS, FUNCTION = 400, 250, 50


def length(node: ast.AST) -> int:
    """Lines of a definition without the docstrings in it."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    inside = [each for each in ast.walk(node) if isinstance(each, defined) and ast.get_docstring(each)]
    return lines(node) - sum(lines(each.body[0]) for each in inside)


def lines(node: ast.AST) -> int:
    return int(node.end_lineno - node.lineno + 1)  # type: ignore[attr-defined] # every statement has them


def too_large() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        if "migrations/versions" in str(path):
            continue  # they stay as they were released
        text = path.read_text()
        if text.count("\n") > MODULE:
            yield f"{path.relative_to(PACKAGE)}: {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            most = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > most:
                yield f"{path.relative_to(PACKAGE)}: {node.name} has {length(node)} lines"


def test_no_module_class_or_function_is_too_large_to_be_read_at_once() -> None:
    assert [*too_large()] == []
    assert len([*PACKAGE.glob("*.py")]) <= 16, "rooms, before the top level has another module"
