"""Docstrings begin with a noun phrase (modules, classes, constants) or with a verb in the third person (functions)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNWANTED = {"what", "how", "whether", "those"}


def first_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the first line of every docstring, and of every string that describes a constant."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text.strip().partition("\n")[0]


@pytest.mark.parametrize("folder", ["gls_lightning", "benchmarks"])
def test_first_lines_are_no_questions(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in first_lines(path)
        if line.partition(" ")[0].lower() in UNWANTED
    ]
    advice = "begin with a noun phrase; in a function with a verb such as Returns or Says"
    assert not found, "\n".join([advice, *found])
