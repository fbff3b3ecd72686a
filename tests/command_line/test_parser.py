"""The parser of the commands that need no model, and how it divides words with another command."""

import subprocess
import sys

import pytest

from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import PLAIN_COMMANDS
from gls_lightning.executors import Execution


@pytest.mark.parametrize("command", PLAIN_COMMANDS)
def test_these_commands_need_not_wait_for_pytorch(command: str) -> None:
    code = f"""
import sys
from gls_lightning.main import main
try:
    main([{command!r}, "--help"])
except SystemExit as exit_:
    assert exit_.code == 0
assert "torch" not in sys.modules and "lightning" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"usage: gls {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "own", "others"),
    [
        ("a.yaml --space b.yaml", "a.yaml --space b.yaml", ""),
        (
            "--trainer.max_epochs 3 a.yaml --model.epsilon=0.1 --space=b.yaml",
            "a.yaml --space=b.yaml",
            "--trainer.max_epochs 3 --model.epsilon=0.1",
        ),
        ("--trainer.max_epochs -1 a.yaml", "a.yaml", "--trainer.max_epochs -1"),
        ("--slurm.time=3 --slurm.mem 4GB a.yaml --jobs 2", "--slurm.time=3 --slurm.mem 4GB a.yaml --jobs 2", ""),
        ("a.yaml --space_ship 3 --spac=2 -h", "a.yaml -h", "--space_ship 3 --spac=2"),
    ],
)
def test_words_are_divided_between_two_commands(words: str, own: str, others: str) -> None:
    parser = CommandParser()
    parser.add_argument("config")
    parser.add_argument("--space")
    parser.add_class_arguments(Execution)
    assert parser.divide(words.split()) == (own.split(), others.split())
