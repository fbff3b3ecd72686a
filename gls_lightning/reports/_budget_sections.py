"""Section about certified accuracy over the time for each image."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from io import StringIO
from typing import NamedTuple

from gls_lightning.reports._document import ReportTable, Section
from gls_lightning.reports._figures import budget_picture
from gls_lightning.reports._lines import BANDS, Line, line_of_seeds
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_groups import RunGroup
from gls_lightning.reports.seed_statistics import seed_statistics
from gls_lightning.run_files import AccuracyOverBudget

BUDGETS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Seconds for each image at which the table shows accuracies, as far as they tell something."""
FILE = "certified-over-budget"
FIRST = 1e-6
"""Seconds that no proof takes less than, on a logarithmic axis."""
POINTS = 200
"""A line has at most so many."""
EXPLANATION = (
    "Certified accuracy as a limit of the time for each image would have given it, from the records of gls certify: a "
    "proof counts at the time that all stages spent on its image, on the machine that certified. An image without a "
    "decision is open: more time might have certified or refuted it."
)


class GroupBudgets(NamedTuple):
    """The runs of a group that count and whose certification has times.

    Attributes:
        group: The group.
        runs: These runs.
        budgets: Their accuracies over the time for each image.
    """

    group: RunGroup
    runs: Sequence[Run]
    budgets: Sequence[AccuracyOverBudget]

    @classmethod
    def of(cls, group: RunGroup) -> "GroupBudgets":
        """Collects them, at the target radius."""
        pairs = [(run, run.summary_at_target) for run in group.counted]
        found = [(run, budget) for run, summary in pairs if summary and (budget := summary.over_budget)]
        return cls(group, [run for run, _ in found], [budget for _, budget in found])

    def values(self, measure: Callable[[AccuracyOverBudget], float]) -> list[float]:
        """Returns a number for each run."""
        return [measure(budget) for budget in self.budgets]


def budget_section(groups: Sequence[RunGroup]) -> Section | None:
    """Draws certified accuracy and the open part over the time for each image; returns None if none was certified."""
    found = [of for group in groups if (of := GroupBudgets.of(group)).budgets]
    proofs = [seconds for of in found for budget in of.budgets for times in budget.proofs.values() for seconds in times]
    if not proofs:
        return None
    first, last = min(proofs), max(proofs)
    positions = _positions(max(first, FIRST) / 2, max(last, FIRST))
    passes = list(dict.fromkeys(name for of in found for budget in of.budgets for name in budget.passes))
    bounds = f"One pass of bounds: what {', '.join(passes)} certified, without optimisation or branch and bound."
    one_pass = {of.group.label: seed_statistics(of.values(lambda b: b.one_pass)).mean for of in found}
    certified = _lines(found, positions, AccuracyOverBudget.certified)
    pictures = [budget_picture(FILE, certified, one_pass, "certified accuracy")]
    pictures.append(budget_picture("open-over-budget", _lines(found, positions, AccuracyOverBudget.open), {}, "open"))
    files = {f"{FILE}.csv": _csv(found), f"{FILE}.json": _json(found)}
    text = [EXPLANATION, *([bounds] if passes else []), *([BANDS] if any(len(of.runs) > 1 for of in found) else [])]
    tables = [_table(found, [seconds for seconds in BUDGETS if first < seconds < last])]
    return Section("Certified accuracy over time", _absent(groups), text, tables, pictures, files=files)


def _absent(groups: Sequence[RunGroup]) -> list[str]:
    return [
        f"{run.name}: an earlier version wrote its summary, without times; the same gls certify again adds them"
        for group in groups
        for run in group.counted
        if (summary := run.summary_at_target) and not summary.over_budget
    ]


def _positions(first: float, last: float) -> list[float]:
    """Returns seconds from the first to the last ones, evenly on a logarithmic axis."""
    ratio = (last / first) ** (1 / (POINTS - 1))
    return [*(first * ratio**index for index in range(POINTS - 1)), last]


def _lines(
    found: Sequence[GroupBudgets], positions: Sequence[float], fraction: Callable[[AccuracyOverBudget, float], float]
) -> dict[str, Line]:
    lines = {}
    for of in found:
        values = [[fraction(budget, seconds) for budget in of.budgets] for seconds in positions]
        lines[of.group.label] = line_of_seeds(of.group.number, positions, values)
    return lines


def _table(found: Sequence[GroupBudgets], shown: Sequence[float]) -> ReportTable:
    header = ["configuration", "seeds", "images", "one pass of bounds"]
    header += [*(f"{seconds:g} s" for seconds in shown), "all its time", "still open"]
    rows = []
    for of in found:
        measures = [of.values(lambda b: b.one_pass)]
        measures += [[budget.certified(seconds) for budget in of.budgets] for seconds in (*shown, math.inf)]
        measures.append([budget.open() for budget in of.budgets])
        images = ", ".join(map(str, sorted({budget.samples for budget in of.budgets})))
        rows.append([of.group.label, str(len(of.budgets)), images, *map(_cell, measures)])
    return ReportTable("certified accuracy in percent by seconds for each image", header, rows)


def _cell(values: Sequence[float]) -> str:
    statistics = seed_statistics([100 * value for value in values])
    mean = f"{statistics.mean:.2f}"
    return mean if statistics.deviation is None else f"{mean} ± {statistics.deviation:.2f}"


def _csv(found: Sequence[GroupBudgets]) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["configuration", "run", "images", "seconds", "certified", "open"])
    for of in found:
        for run, budget in zip(of.runs, of.budgets, strict=True):
            about = of.group.label, run.name, budget.samples
            rows.writerows([*about, m, budget.certified(m), budget.open(m)] for m in budget.moments)
    return text.getvalue()


def _json(found: Sequence[GroupBudgets]) -> str:
    entries = [
        {
            "configuration": of.group.label,
            "run": run.name,
            "images": budget.samples,
            "one_pass": budget.one_pass,
            "passes": budget.passes,
            "seconds": budget.moments,
            "certified": [budget.certified(moment) for moment in budget.moments],
            "open": [budget.open(moment) for moment in budget.moments],
        }
        for of in found
        for run, budget in zip(of.runs, of.budgets, strict=True)
    ]
    return json.dumps(entries) + "\n"
