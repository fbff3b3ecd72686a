"""Runs that differ in their seeds alone."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gls_lightning.reports._document import DASH
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_config import MODEL, SEED, FlatConfig, choices

BOOKKEEPING = (
    *(SEED, f"{MODEL}.seed", "data.init_args.seed", "data.init_args.root", "data.init_args.num_workers"),
    "data.init_args.on_device",
    *("checkpoint", "latest", "recovery", "ckpt_path", "weights_only", "import_paths"),
    *("trainer.logger", "trainer.default_root_dir", "trainer.profiler", "trainer.log_every_n_steps"),
    *(f"{MODEL}.capture", "trainer.float32_matmul_precision"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.enable_checkpointing"),
)
"""Keys and sections that say nothing about what is trained, or that are seeds."""
COSTS = "memory_budget"
"""An option, of whatever component, that changes what a run costs and nothing else."""
LATER = {
    **{"sigma_decay.shape": "step", "sigma_decay.start_epoch": 0, "sigma_decay.end_epoch": 0},
    **{"sigma_decay.ramp_factor": 1.0, f"{MODEL}.estimator.init_args.smallest_scale": 0.0},
}
"""Keys that configurations of earlier versions lack, and the values with which training is the same as then."""
LATER_OPTIONS = {"shape": "epsilon", "factor": 0.01, "milestones": [], "start_epoch": 0, "end_epoch": 0}
"""The same of ``AdaptiveRho``, which had no options."""
COMPONENTS = ("network", "data", "epsilon", "relaxation", "objective", "estimator")
"""The choices that name a group wherever they differ."""


@dataclass(frozen=True)
class RunGroup:
    """Runs that are the same but for their seeds and bookkeeping.

    Attributes:
        label: Tells it from the other groups.
        number: Its position among them, which decides its colour.
        runs: All of them.
        counted: Those that statistics are of: one for each seed.
        notes: Why the others are not counted.
    """

    label: str
    number: int
    runs: Sequence[Run]
    counted: Sequence[Run]
    notes: Sequence[str]


def group_runs(runs: Sequence[Run]) -> list[RunGroup]:
    """Groups runs, in the order of the first ones; a run without configuration is a group of its own."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(settings(run.config), sort_keys=True, default=str) if run.config else run.name].append(run)
    labels = _labels([members[0] for members in groups.values()])
    return [
        RunGroup(label, number, members, *_counted(members))
        for number, (label, members) in enumerate(zip(labels, groups.values(), strict=True))
    ]


def settings(config: FlatConfig) -> dict[str, Any]:
    """Returns the values of a configuration that make a difference, the same ones for each version that wrote it."""
    kept = _without_costs(config)
    kept = {key: value for key, value in kept.items() if not any(f"{key}.".startswith(f"{b}.") for b in BOOKKEEPING)}
    kept = {key: value for key, value in kept.items() if key not in LATER or value != LATER[key]}
    if isinstance(callbacks := kept.get("trainer.callbacks"), list):
        kept["trainer.callbacks"] = [_without_later_options(callback) for callback in callbacks]
    for key in (f"{MODEL}.init_from", f"{MODEL}.objective.init_args.teacher_weights"):
        if isinstance(weights := kept.get(key), str):  # each seed may start, or learn, from a run of its own
            kept[key] = re.sub(r"(version|seed)_\d+", r"\1_*", weights)
    return kept


def _without_costs(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_costs(inner) for key, inner in value.items() if key.rpartition(".")[2] != COSTS}
    return [_without_costs(inner) for inner in value] if isinstance(value, list) else value


def _without_later_options(callback: Any) -> Any:
    if not isinstance(callback, dict) or callback.get("init_args") != LATER_OPTIONS:
        return callback
    return {key: value for key, value in callback.items() if key != "init_args"}


def differences(groups: Sequence[RunGroup]) -> dict[str, list[str]]:
    """Returns the settings in which groups differ: the value of each group, by the key."""
    columns = [settings(group.runs[0].config) for group in groups]
    keys = sorted({key for column in columns for key in column})
    rows = {key: [str(column.get(key, DASH)) for column in columns] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


def _counted(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Returns one finished run for each seed, or one that is not finished where none is; and notes about the others."""
    finished = [run for run in runs if not run.missing_epochs]
    by_seed = {run.seed or run.name: run for run in finished or runs}
    counted = list(by_seed.values())
    notes = []
    for run in runs:
        if run.missing_epochs:
            notes.append(f"{run.name} is not finished" + (" and not counted" if finished else ""))
        elif run not in counted:
            notes.append(f"{run.name} has the seed of {by_seed[run.seed or run.name].name} and is not counted")
    return counted, notes


def _labels(firsts: Sequence[Run]) -> list[str]:
    """Names groups by what tells their first runs apart: components, if need be options, if need be a run's name."""
    chosen = [choices(run.config) for run in firsts if run.config]
    differing = [key for key in choices({}) if key != "seed" and len({choice[key] for choice in chosen}) > 1]
    keys = [key for key in differing if key in COMPONENTS] or ["network", "data", "relaxation", "estimator"]
    for tried in (keys, list(dict.fromkeys([*keys, *differing]))):
        labels = [_label(run, tried) for run in firsts]
        counts = Counter(labels)
        if len(counts) == len(labels):
            return labels
    named = zip(labels, firsts, strict=True)
    return [label if counts[label] == 1 else f"{label} ({run.name})" for label, run in named]


def _label(run: Run, keys: Sequence[str]) -> str:
    if not run.config:
        return run.name
    chosen = choices(run.config)
    return ", ".join(chosen[key] if chosen[key][:1].isupper() else f"{key} {chosen[key]}" for key in keys)
