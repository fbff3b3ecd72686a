"""Search for the runs that a command line names."""

import re
from collections.abc import Sequence
from pathlib import Path

from gls_lightning.configuration import find_config
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CONFIG, METRICS, RUNS


def find_runs(names: Sequence[str]) -> list[Path]:
    """Finds the directories of the runs with these names, each once.

    Args:
        names: Each a run's directory, one that has runs at most two levels below it, a run's ``config.yaml``, or the
            name of a configuration, for all its runs below ``runs``.

    Raises:
        ConfigurationError: There is no such run.
    """
    found = [directory for name in names for directory in _named(name)]
    return list({directory.resolve(): directory for directory in found}.values())


def _named(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        if _is_run(path):
            return [path]
        return _below(path, f"RUN is {name}, a directory with neither {CONFIG} nor {METRICS}")
    if path.name == CONFIG and path.is_file():
        return [path.parent]
    try:
        config = find_config(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"RUN is {name}, which is no directory, and {error}") from error
    return _below(RUNS / config.stem, f"RUN is {name}, a configuration without runs here")


def _below(directory: Path, what: str) -> list[Path]:
    """Finds the training runs at most two levels below a directory; none within another."""
    found: list[Path] = []
    for pattern in ("*", "*/*"):
        for path in directory.glob(pattern):
            if _has_trained(path) and path.parent not in found:
                found.append(path)
    if not found:
        raise ConfigurationError(f"{what}; there must be a run at most two levels below {directory}")
    return sorted(found, key=_natural_order)


def _is_run(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (CONFIG, METRICS))


def _has_trained(directory: Path) -> bool:
    """Says whether a directory is that of a training run; evaluations of earlier versions left ``metrics.csv``, too."""
    if (directory / CONFIG).is_file():
        return True
    if not (directory / METRICS).is_file():
        return False
    with (directory / METRICS).open(errors="replace") as lines:
        return "train/" in next(lines, "")


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Orders version_10 behind version_9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
