"""The entry point of ``gls``."""

import sys
from collections.abc import Sequence

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
    from gls_lightning.cli import run  # takes seconds, which --version need not wait for

    try:
        run(words)
    except ConfigurationError as error:
        print(f"gls: {error}", file=sys.stderr)
        sys.exit(2)
