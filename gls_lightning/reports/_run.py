"""A run, read from its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from gls_lightning.configuration import compose
from gls_lightning.errors import ConfigurationError
from gls_lightning.reports._metric_table import MetricTable, read_metrics
from gls_lightning.reports.run_config import MODEL, SEED, FlatConfig, flatten, number
from gls_lightning.run_files import CONFIG, DAMAGE, RECORDS, CertificationSummary, RunOrigin

_ENDS_EARLIER = ("trainer.max_steps", "trainer.max_time")


@dataclass(frozen=True)
class Run:
    """A run as it was left on disk.

    Attributes:
        directory: Where it is.
        name: Tells it from the other runs of the report.
        config: Its configuration; empty if there is none that can be read.
        config_text: The file; empty if there is none.
        config_note: What is wrong with the file, or empty.
        metrics: What it logged.
        summaries: What ``gls certify`` found out, by the directory in the run.
        summary_notes: What is wrong with these.
    """

    directory: Path
    name: str
    config: FlatConfig
    config_text: str
    config_note: str
    metrics: MetricTable
    summaries: Mapping[str, CertificationSummary]
    summary_notes: Sequence[str]

    @property
    def origin(self) -> RunOrigin:
        """When and by which version it was trained, as far as its configuration says."""
        return RunOrigin.read(self.config_text)

    @property
    def seed(self) -> str | None:
        """The seed of everything."""
        return str(self.config[SEED]) if SEED in self.config else None

    @property
    def missing_epochs(self) -> int:
        """Number of epochs that are left, as far as metrics and configuration say; 0 where they do not."""
        whole = number(self.config, "trainer.max_epochs")
        if whole is None or not self.metrics.epochs or "EarlyStopping" in str(self.config.get("trainer.callbacks")):
            return 0
        if any(str(self.config.get(key, -1)) != "-1" for key in _ENDS_EARLIER):
            return 0
        every = int(number(self.config, "trainer.check_val_every_n_epoch") or 1)
        epoch, _ = self.metrics.last_validation()
        done = self.metrics.epochs if epoch is None else epoch + every
        return max(0, int(whole) - done)

    @property
    def summary_at_target(self) -> CertificationSummary | None:
        """The summary of most images among those at the model's radius."""
        epsilon = number(self.config, f"{MODEL}.epsilon")
        matching = [s for s in self.summaries.values() if epsilon is None or isclose(s.epsilon, epsilon, rel_tol=1e-6)]
        return max(matching, key=lambda summary: summary.total.samples, default=None)


def read_runs(directories: Sequence[Path]) -> list[Run]:
    """Reads runs; whatever is absent or damaged becomes a note."""
    return [_read(path, name) for path, name in zip(directories, _names(directories), strict=True)]


def _names(directories: Sequence[Path]) -> list[str]:
    """Returns the ends of the paths that tell them apart, of at least two parts."""
    parts = [directory.resolve().parts for directory in directories]
    length = 2
    while len({path[-length:] for path in parts}) < len(set(parts)):
        length += 1
    return ["/".join(path[-length:]) for path in parts]


def _read(directory: Path, name: str) -> Run:
    config = _read_config(directory / CONFIG)
    return Run(directory, name, *config, read_metrics(directory), *_read_summaries(directory))


def _read_config(path: Path) -> tuple[FlatConfig, str, str]:
    """Returns the configuration, its text, and what is wrong with it."""
    if not path.is_file():
        return {}, "", f"there is no {path.name}"
    text = path.read_text(errors="replace")
    try:
        return flatten(compose(path).content), text, ""
    except ConfigurationError as error:
        return {}, text, str(error)


def _read_summaries(run: Path) -> tuple[dict[str, CertificationSummary], list[str]]:
    """Returns the summaries of ``gls certify`` by their directories in the run, and what is wrong with them."""
    summaries, notes, name = {}, [], CertificationSummary.FILE
    first = CertificationSummary.DIRECTORY
    folders = sorted(_folders(run, name), key=lambda folder: (folder.parts[0] != first, folder))
    for folder in folders:
        try:
            summaries[str(folder)] = CertificationSummary.read(run / folder / name)
        except DAMAGE as error:
            notes.append(f"{folder}/{name} is no summary of gls certify: {type(error).__name__}, {error}")
    begun = _folders(run, RECORDS).difference(folders)
    notes += [f"{folder} has records but no {name}; gls certify goes on there" for folder in sorted(begun)]
    return summaries, notes


def _folders(run: Path, name: str) -> set[Path]:
    """Returns the directories in a run that have files of this name."""
    return {path.parent.relative_to(run) for pattern in (f"*/{name}", f"*/*/{name}") for path in run.glob(pattern)}
