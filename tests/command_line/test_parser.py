"""The parser of the commands that need no model."""

import subprocess
import sys

import pytest

from gls_lightning.commands import PLAIN_COMMANDS


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
