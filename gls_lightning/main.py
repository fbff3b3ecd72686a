"""The entry point of ``gls``."""

import os
import sys
from collections.abc import Sequence

from gls_lightning.allocation import keep_freed_memory
from gls_lightning.errors import ConfigurationError
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
    # PyTorch's threads spin while they wait, by default; on busy cores that makes small tensors many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    from gls_lightning.cli import run  # takes seconds, which --version need not wait for

    try:
        run(words)
    except ValueError as error:
        if (bad_input := _bad_input(error)) is None:
            raise
        print(f"gls: {bad_input}", file=sys.stderr)
        sys.exit(2)


def _bad_input(error: BaseException | None) -> ConfigurationError | None:
    """The error that a component raised; jsonargparse wraps it once for every level at which it stands."""
    while error is not None and not isinstance(error, ConfigurationError):
        error = error.__cause__
    return error
