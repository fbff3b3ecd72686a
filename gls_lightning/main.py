"""The entry point of ``gls``."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from gls_lightning.allocation import keep_freed_memory
from gls_lightning.errors import ConfigurationError
from gls_lightning.version import __version__
from gls_lightning.whole_file import STORAGE_ERRORS

COMMANDS = ("configs", "report", "verify")
"""The commands that need no model; the others are those of Lightning's trainer."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs ``gls``.

    Args:
        args: The words after ``gls``; by default those of the command line.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        print(f"gls {__version__}")
        return
    # PyTorch's threads spin while they wait, by default; on busy cores that makes small tensors many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    if words and words[0] in COMMANDS:
        _checked(import_module(f"gls_lightning.commands.{words[0]}").run, words[1:])
        return
    from gls_lightning.cli import run  # takes seconds, which the commands above need not wait for

    _checked(run, words)


def _checked(command: Callable[[list[str]], None], words: list[str]) -> None:
    """Runs a command, and ends with one line where its input is bad."""
    try:
        command(words)
    except BrokenPipeError:  # who reads the output has seen enough; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        print(f"gls: {_disk_error(error)}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        if (bad_input := _bad_input(error)) is None:
            raise
        print(f"gls: {bad_input}", file=sys.stderr)
        sys.exit(2)


def _disk_error(error: OSError) -> str:
    """Says what went wrong, with the notes of the error or of that during whose handling it came."""
    found: BaseException | None = error
    notes: list[str] = []
    while found is not None and not notes:
        notes, found = getattr(found, "__notes__", []), found.__context__
    return "; ".join([" ".join(filter(None, [error.strerror, error.filename and f"for {error.filename}"])), *notes])


def _bad_input(error: BaseException | None) -> ConfigurationError | None:
    """The error that a component raised; jsonargparse wraps it once for every level at which it stands."""
    while error is not None and not isinstance(error, ConfigurationError):
        error = error.__cause__
    return error
