"""A run, read from its directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from gls_lightning.configuration import compose
from gls_lightning.errors import ConfigurationError
from gls_lightning.reports.certification_summary import CertificationSummary, read_summaries
from gls_lightning.reports.metric_table import MetricTable, read_metrics
from gls_lightning.reports.run_config import MODEL, SEED, FlatConfig, flatten, number
from gls_lightning.run_files import CONFIG, METRICS

_ENDS_EARLIER = ("trainer.max_steps", "trainer.max_time")


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        directory: Where it is.
        name: Tells it from the other runs of the report.
        config: Its configuration; empty if there is none that can be read.
        config_text: The file; empty if there is none.
        config_note: What is wrong with the file, or empty.
        metrics: What it logged.
        summaries: What ``gls certify`` found out.
        summary_notes: What is wrong with these.
    """

    directory: Path
    name: str
    config: FlatConfig
    config_text: str
    config_note: str
    metrics: MetricTable
    summaries: Sequence[CertificationSummary]
    summary_notes: Sequence[str]

    @property
    def seed(self) -> str | None:
        """The seed of everything."""
        return str(self.config[SEED]) if SEED in self.config else None

    @property
    def missing_epochs(self) -> int:
        """How many epochs are left, as far as metrics and configuration say; 0 where they do not."""
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
        """Of the summaries at the model's radius the one of most images."""
        epsilon = number(self.config, f"{MODEL}.epsilon")
        matching = [s for s in self.summaries if epsilon is None or isclose(s.epsilon, epsilon, rel_tol=1e-6)]
        return max(matching, key=lambda summary: summary.total.samples, default=None)


def read_runs(directories: Sequence[Path]) -> list[Run]:
    """Reads runs; whatever is absent or damaged becomes a note."""
    return [_read(path, name) for path, name in zip(directories, _names(directories), strict=True)]


def _names(directories: Sequence[Path]) -> list[str]:
    """The ends of the paths that tell them apart, of at least two parts."""
    parts = [directory.resolve().parts for directory in directories]
    length = 2
    while len({path[-length:] for path in parts}) < len(set(parts)):
        length += 1
    return ["/".join(path[-length:]) for path in parts]


def _read(directory: Path, name: str) -> Run:
    summaries, notes = read_summaries(directory)
    metrics = read_metrics(directory / METRICS)
    return Run(directory, name, *_read_config(directory / CONFIG), metrics, summaries, notes)


def _read_config(path: Path) -> tuple[FlatConfig, str, str]:
    """The configuration, its text, and what is wrong with it."""
    if not path.is_file():
        return {}, "", f"there is no {path.name}"
    text = path.read_text(errors="replace")
    try:
        return flatten(compose(path).content), text, ""
    except ConfigurationError as error:
        return {}, text, str(error)
