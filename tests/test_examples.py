"""The examples in docstrings give what they show."""

import doctest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
NEEDED = {"gls_lightning.interchange": "onnx", "gls_lightning.relaxations.auto_lirpa": "auto_LiRPA"}
"""Optional packages, by the modules that import them."""


def modules_with_examples() -> list[str]:
    files = sorted((ROOT / "gls_lightning").rglob("*.py"))
    found = [path for path in files if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name: str) -> None:
    for module, package in NEEDED.items():
        if name.startswith(module) and find_spec(package) is None:
            pytest.skip(f"needs {package}")
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        torch.manual_seed(0)
        runner.run(test, out=report.append)
    assert runner.tries
    assert not report, "".join(report)
