"""Command lines of ``gls`` in processes of their own."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
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
    processes = [_process([*words, "--print_config"]) for words in lines]
    ended = [(words, process, *process.communicate()) for words, process in zip(lines, processes, strict=True)]
    for words, process, _, errors in ended:
        if process.returncode == 2:
            said = errors.strip().splitlines()[-1].removeprefix("gls: ")
            raise ConfigurationError(f"gls {words[0]} refuses the options of {whose}: {said}")
        if process.returncode:
            raise RuntimeError(f"gls {words[0]} --print_config ended with code {process.returncode}: {errors}")
    return [yaml.safe_load(printed) for *_, printed, _ in ended]


def _process(words: Sequence[str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(gls_command(words), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
