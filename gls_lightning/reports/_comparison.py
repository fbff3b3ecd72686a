"""Accuracies of the runs of a group, by validation and by ``gls certify``, and their statistics over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gls_lightning.reports.run_groups import RunGroup
from gls_lightning.reports.seed_statistics import SeedStatistics, seed_statistics
from gls_lightning.run_files import ACCURACIES, CertificationSummary

VALIDATION, CERTIFY = "last validation", "gls certify"


@dataclass(frozen=True)
class Measurement:
    """Accuracies of some runs, all from one source.

    Attributes:
        source: Says which.
        accuracies: In percent, by run and by kind; without those that a run has not.
        intervals: Of a single run that was certified, the intervals over its images, in percent.
    """

    source: str
    accuracies: Sequence[Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]]

    def statistics(self, name: str) -> SeedStatistics | None:
        """Returns the statistics over the runs; None if one of them has no such accuracy."""
        if not all(name in of_run for of_run in self.accuracies):
            return None
        over_seeds = seed_statistics([of_run[name] for of_run in self.accuracies])
        return over_seeds._replace(interval=over_seeds.interval or self.intervals.get(name))


def measurements(group: RunGroup) -> tuple[dict[str, Measurement], list[str]]:
    """Returns what validation and ``gls certify`` measured of the runs that count, by the source.

    Summaries of ``gls certify`` are used at the target radius, and if all of these runs have one of as many images.

    Returns:
        The measurements, and notes about what is absent or not used.
    """
    last = {run.name: run.metrics.last_validation()[1] for run in group.counted}
    measured = {VALIDATION: Measurement(VALIDATION, [_percent(accuracies) for accuracies in last.values()], {})}
    absent = {run: [name for name in ACCURACIES if name not in accuracies] for run, accuracies in last.items()}
    notes = [
        f"{run} has no {', '.join(names)} accuracy in its last validation" for run, names in absent.items() if names
    ]
    summaries = [summary for run in group.counted if (summary := run.summary_at_target)]
    if unused := _why_unused(summaries, len(group.counted)):
        return measured, [*notes, f"{unused}, so validation stands for all"]
    return measured | ({CERTIFY: _certified(summaries)} if summaries else {}), notes


def _why_unused(summaries: Sequence[CertificationSummary], runs: int) -> str:
    """Says why summaries are not used, or nothing."""
    images = {(of.dataset, of.total.samples) for of in summaries}
    if 0 < len(summaries) < runs:
        return f"only {len(summaries)} of {runs} seeds have a summary of gls certify at the target radius"
    if len(images) > 1:
        counts = ", ".join(f"{samples} of {dataset}" for dataset, samples in sorted(images))
        return f"the summaries of gls certify are of different images ({counts})"
    return ""


def _certified(summaries: Sequence[CertificationSummary]) -> Measurement:
    first, *others = summaries
    ends = {} if others else {name: first.interval(name) for name in ACCURACIES}
    intervals = {name: (100 * low, 100 * high) for name, (low, high) in ends.items()}
    source = f"{CERTIFY}, {first.total.samples} images"
    return Measurement(source, [_percent(of.accuracies) for of in summaries], intervals)


def _percent(accuracies: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * accuracies[name] for name in ACCURACIES if name in accuracies}
