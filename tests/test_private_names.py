import ast
from collections.abc import Iterator
from pathlib import Path

import gls_lightning

PACKAGE = Path(gls_lightning.__file__).parent
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # public, whatever they look like


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMED_TUPLES


def defined(tree: ast.AST) -> Iterator[str]:
    """The names of a file's functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The private names that a file takes from modules and from objects other than its own, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                parts = [*module.split("."), *(alias.name for alias in names)]
                yield from ((node.lineno, part) for part in parts if is_private(part))
            case ast.Attribute(value=ast.Name(id="self" | "cls")) | ast.Attribute(value=ast.Call(ast.Name("super"))):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield node.lineno, name


def foreign_names(package: Path) -> list[str]:
    trees = {path: ast.parse(path.read_text()) for path in package.rglob("*.py")}
    own = {path.stem for path in trees} | {name for tree in trees.values() for name in defined(tree)}
    return [
        f"{path.relative_to(package)}:{line}: {name}"
        for path, tree in trees.items()
        if "private_names" not in path.parts
        for line, name in used(tree)
        if name not in own
    ]


def test_private_names_of_other_libraries_stand_in_their_package_alone() -> None:
    assert foreign_names(PACKAGE) == []


def test_the_search_finds_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(
        "from torch.utils._pytree import tree_map\nfrom torch.nn.modules.batchnorm import _BatchNorm\n"
        "class A:\n    def __init__(self):\n        self._mine = torch._C.x\n"
        "    def _rule(self, other, trainer):\n"
        "        return other._mine, other._rule(), self._inherited, self.trainer._connector.option\n"
    )
    found = ["1: _pytree", "2: _BatchNorm", "5: _C", "7: _connector"]
    assert sorted(foreign_names(tmp_path)) == [f"part.py:{name}" for name in found]
