"""Command lines of ``gls`` in processes of their own."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from gls_lightning.errors import ConfigurationError


class FailedCommandError(Exception):
    """A command that ended with an error, which it has printed; says which command and how it ended."""


def gls_command(words: Sequence[str]) -> list[str]:
    """Returns the command that runs ``gls`` in another process, which imports nothing by accident from where it runs.

    Args:
        words: The words behind ``gls``.
    """
    return [sys.executable, "-P", "-m", "gls_lightning", *words]


def run_gls(words: Sequence[str], lock: int | None = None) -> None:
    """Runs a command line of ``gls``, and waits until it ends.

    Args:
        words: The words behind ``gls``.
        lock: Descriptor of a lock that is to be held as long as the command runs, even if this process is killed.

    Raises:
        FailedCommandError: It ended with an error.
    """
    print(f"$ gls {shlex.join(words)}", flush=True)
    code = subprocess.run(
        gls_command(words), stdin=subprocess.DEVNULL, pass_fds=() if lock is None else (lock,)
    ).returncode
    if code:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise FailedCommandError(f"gls {words[0]} {how}")


def resolve(lines: Sequence[Sequence[str]], whose: str) -> list[Any]:
    """Lets ``gls`` read command lines without running them, which costs seconds and not hours.

    Args:
        lines: The words behind ``gls`` of each.
        whose: Names what their options are of, for the message.

    Returns:
        The whole configuration of each.

    Raises:
        ConfigurationError: It refuses one.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda words: _resolved(words, whose), lines))


def _resolved(words: Sequence[str], whose: str) -> Any:
    command = gls_command([*words, "--print_config"])
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode == 2:
        said = ended.stderr.strip().splitlines()[-1].removeprefix("gls: ")
        raise ConfigurationError(f"gls {words[0]} refuses the options of {whose}: {said}")
    if ended.returncode:
        raise RuntimeError(f"gls {words[0]} --print_config ended with code {ended.returncode}: {ended.stderr}")
    return yaml.safe_load(ended.stdout)
