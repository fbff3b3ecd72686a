"""Commands of ``gls``: each is a function of its name, in a file or in a folder of its name.

The signature of a command on a model is its options, and its docstring their help; ``export.py`` is a short one. To add
a command, write such a file and put its name on one of the lists below. Options and steps that several commands share
are in ``shared``. Importing this package imports no command, and thus no PyTorch.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

LIGHTNING_COMMANDS = {
    "fit": "Trains a network.",
    "validate": "Measures a network on the validation images.",
    "test": "Measures a network on the test images.",
}
"""Commands of Lightning's trainer, and what they do."""
MODEL_COMMANDS = ("tightness", "landscape", "certify", "export")
"""Commands that evaluate a model: functions of an EvaluatedModel and of their options, and methods of GLSTrainer."""
PLAIN_COMMANDS = ("configs", "front", "report", "table", "verify")
"""Commands without a model: functions of the words behind them."""


def command(name: str) -> Callable[..., None]:
    """Imports the function of a command."""
    function: Callable[..., None] = getattr(import_module(f"{__name__}.{name}"), name)
    return function


def description(name: str) -> str:
    """Returns the first line of a command's docstring, read from the file because importing some takes seconds."""
    file = Path(__file__).with_name(name)
    source = (file / "command.py" if file.is_dir() else file.with_suffix(".py")).read_text(encoding="utf-8")
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return (ast.get_docstring(functions[name]) or "").partition("\n")[0]


def descriptions() -> dict[str, str]:
    """Returns what each command does, by its name."""
    return LIGHTNING_COMMANDS | {name: description(name) for name in (*MODEL_COMMANDS, *PLAIN_COMMANDS)}
