"""The package's own imports: through the faces of other packages, and in no circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "gls_lightning"
FACELESS = tuple(f"{PACKAGE}.{name}" for name in ("command_line", "commands", "interchange", "private_names"))
"""Packages whose parts are imported one by one, because importing all of them is slow."""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
FACES = [name for name, path in FILES.items() if path.name == "__init__.py" and name != PACKAGE]


def exported(face: str) -> set[str]:
    """Names that a package's face imports; a function there may be called as the file that defines it."""
    tree = ast.parse(FILES[face].read_text(encoding="utf-8"))
    return {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def is_inside(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def imports(tree: ast.AST, everywhere: bool) -> Iterator[ast.ImportFrom | ast.Import]:
    """The imports of a module: everywhere in it, or only those that run when it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif everywhere or not later:
            yield from imports(node, everywhere)


def imported(name: str, everywhere: bool) -> set[str]:
    """Names of the package's modules and faces that a module imports."""
    found = set()
    for node in imports(ast.parse(FILES[name].read_text(encoding="utf-8")), everywhere):
        names = {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= names
        else:
            of_face = exported(node.module) if node.module in FACES and node.module != name else set()
            modules = {n for n in names if f"{node.module}.{n}" in FILES} - of_face
            found |= {f"{node.module}.{n}" for n in modules} | ({node.module} if names - modules else set())
    return found & FILES.keys()


def test_other_packages_are_imported_through_their_face() -> None:
    wrong = [
        f"{name} imports {part}; export it from {package} and import it from there"
        for name in FILES
        for part in sorted(imported(name, everywhere=True).difference(FACES))
        if (package := part.rpartition(".")[0]) != PACKAGE and not is_inside(name, package)
        if not any(is_inside(part, faceless) for faceless in FACELESS)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports() -> None:
    try:
        TopologicalSorter({name: imported(name, everywhere=False) for name in FILES}).prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' imports '.join(reversed(error.args[1]))}", pytrace=False)


@pytest.mark.parametrize("package", FACES)
def test_faces_say_what_they_hold(package: str) -> None:
    if is_inside(package, f"{PACKAGE}.interchange") and not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        pytest.skip("needs the packages of the extra onnx")
    face = import_module(package)
    assert face.__doc__
    assert [name for name in getattr(face, "__all__", ()) if not hasattr(face, name)] == []


@pytest.mark.parametrize("face", [name for name in FACES if not any(is_inside(name, p) for p in FACELESS)])
def test_modules_that_the_face_exports_nothing_of_are_private(face: str) -> None:
    tree = ast.parse(FILES[face].read_text(encoding="utf-8"))
    shown = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    parts = [name for name in FILES if name.rpartition(".")[0] == face and name not in FACES]
    assert [name for name in parts if name not in shown and not name.rpartition(".")[2].startswith("_")] == []
