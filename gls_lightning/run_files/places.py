"""Names and places of a run's files."""

from pathlib import Path

RUNS = Path("runs")
"""Where ``gls fit`` puts its runs, below the working directory."""
CONFIG, METRICS, HPARAMS, CHECKPOINTS = "config.yaml", "metrics.csv", "hparams.yaml", "checkpoints"
REPORT = "report.html"
PRUNED = "pruned.txt"
"""Says why a search ended a run early."""


def metrics_files(run: Path) -> list[Path]:
    """Returns the files with logged metrics: of earlier parts of the run, ``metrics-1.csv`` and so on, and the last."""
    earlier = sorted(run.glob("metrics-*.csv"), key=lambda path: (len(path.name), path.name))
    return [path for path in (*earlier, run / METRICS) if path.is_file()]


def set_metrics_aside(run: Path) -> None:
    """Renames ``metrics.csv``, if there is one, because another run starts in the directory."""
    files = metrics_files(run)
    if (run / METRICS) in files:
        (run / METRICS).rename(run / f"metrics-{len(files)}.csv")


def evaluation_files(run: Path, name: str, file: str) -> list[Path]:
    """Returns the files of this name that were left in a run by what is called so, of all checkpoints."""
    return sorted(path for pattern in (file, f"*/{file}") for path in (run / name).glob(pattern))


def evaluation_directory(name: str, checkpoint: str | Path | None) -> Path:
    """Returns the directory for what is found out about a checkpoint.

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


def run_of_checkpoint(path: Path) -> Path:
    """Returns the directory of the run that a checkpoint belongs to."""
    return run_of_folder(path.parent)


def run_of_folder(folder: Path) -> Path:
    """Returns the directory of the run whose checkpoints lie in a folder: itself, or the one above ``checkpoints``."""
    return _above(folder) if folder.absolute().name == CHECKPOINTS else folder


def config_of_checkpoint(path: Path) -> Path | None:
    """Returns the configuration of the run that a checkpoint belongs to, beside it or in the directory above."""
    candidates = (folder / CONFIG for folder in (path.parent, _above(path.parent)))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def is_run(folder: Path) -> bool:
    """Says whether a directory is that of a run: it has a configuration, and metrics, checkpoints or other weights."""
    if not (folder / CONFIG).is_file():
        return False
    weights = (folder.glob(pattern) for pattern in ("*.ckpt", "*.safetensors"))
    return (folder / CHECKPOINTS).is_dir() or (folder / METRICS).is_file() or any(map(any, weights))


def _above(folder: Path) -> Path:
    """Returns the directory above, also of the working directory, which is its own parent."""
    return folder.parent if folder.name else folder.absolute().parent
