"""The entry point of ``gls``."""

import os
import sys
from collections.abc import Callable, Sequence

from gls_lightning.allocation import keep_freed_memory
from gls_lightning.arguments import near
from gls_lightning.commands import LIGHTNING_COMMANDS, MODEL_COMMANDS, PLAIN_COMMANDS, command, descriptions
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import STORAGE_ERRORS
from gls_lightning.version import __version__


def main(args: Sequence[str] | None = None) -> None:
    """Runs ``gls``.

    Args:
        args: The words after ``gls``; by default those of the command line.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        print(f"gls {__version__}")
        return
    if words in (["--help"], ["-h"]):
        print(_help())
        return
    # PyTorch's threads spin while they wait, by default; on busy cores that makes small tensors many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    _checked(_run, words)


def _help() -> str:
    commands = descriptions()
    width = max(map(len, commands))
    return "\n".join(
        [
            "usage: gls COMMAND ...",
            "",
            "Certified training with Gaussian Loss Smoothing.",
            "",
            *(f"  {name:<{width}}  {description}" for name, description in commands.items()),
            "",
            "--help behind a command says more; gls --version prints the version.",
        ]
    )


def _run(words: list[str]) -> None:
    name = words[0] if words else ""
    if name in PLAIN_COMMANDS:
        command(name)(words[1:])
        return
    known = [*LIGHTNING_COMMANDS, *MODEL_COMMANDS, *PLAIN_COMMANDS]
    if name not in known and not name.startswith("-"):
        said = f"there is no command {name}" if name else "a command is missing"
        hint = f"near: {', '.join(found)}; " if (found := near(name, known)) else ""
        raise ConfigurationError(f"{said}; {hint}the commands are {', '.join(known)}")
    from gls_lightning.cli import run  # takes seconds, which the commands above need not wait for

    run(words)


def _checked(run: Callable[[list[str]], None], words: list[str]) -> None:
    """Runs a command, and ends with one line where its input is bad."""
    try:
        run(words)
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
    """Finds the error that a component raised; jsonargparse wraps it once for every level at which it stands."""
    while error is not None and not isinstance(error, ConfigurationError):
        error = error.__cause__
    return error
