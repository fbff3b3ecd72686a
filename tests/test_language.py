"""Docstrings begin with a noun phrase (classes, modules) or a verb in the third person (functions)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNWANTED = {"what", "how", "whether", "those"}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def first_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the line number and the first line of every docstring, and of every string that describes a constant."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("body", "orelse"):
            for statement in body if isinstance(body := getattr(node, field, None), list) else []:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield statement.lineno, text.strip().split("\n", 1)[0]


@pytest.mark.parametrize("folder", ["gls_lightning", "benchmarks"])
def test_no_docstring_begins_with_a_question(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in first_lines(path)
        if line.split(maxsplit=1)[0].rstrip(",:").lower() in UNWANTED
    ]
    assert not found, "begin with a noun phrase, or for a function with a verb such as Returns or Says:\n" + "\n".join(
        found
    )
