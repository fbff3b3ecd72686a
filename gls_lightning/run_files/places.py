"""Names and places of a run's files."""

from pathlib import Path

CONFIG, METRICS, CHECKPOINTS = "config.yaml", "metrics.csv", "checkpoints"
EVALUATED = "metrics.json"
"""Name of the file with what ``gls test`` or ``gls validate`` measured."""


def evaluation_files(run: Path, name: str, file: str) -> list[Path]:
    """The files of this name that were left in a run by what is called so, of all checkpoints."""
    return sorted(path for pattern in (file, f"*/{file}") for path in (run / name).glob(pattern))


def run_of_checkpoint(path: Path) -> Path:
    """The directory of the run that a checkpoint belongs to: its own, or the one above ``checkpoints``."""
    return _above(path.parent) if path.absolute().parent.name == CHECKPOINTS else path.parent


def config_of_checkpoint(path: Path) -> Path | None:
    """The configuration of the run that a checkpoint belongs to, beside it or in the directory above."""
    candidates = (folder / CONFIG for folder in (path.parent, _above(path.parent)))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _above(folder: Path) -> Path:
    """The directory above, also of the working directory, which is its own parent."""
    return folder.parent if folder.name else folder.absolute().parent


def evaluation_directory(name: str, checkpoint: str | Path | None) -> Path:
    """The directory for what is found out about a checkpoint.

    Args:
        name: What is done, such as ``certification``.
        checkpoint: The file with the weights; None for those of the initialisation.

    Returns:
        ``NAME/STEM`` in the run of the checkpoint, whose file name without ending is the stem, so that those of one run
        are kept apart; or ``NAME`` here without a checkpoint.
    """
    if checkpoint is None:
        return Path(name)
    path = Path(checkpoint)
    return run_of_checkpoint(path) / name / path.stem
