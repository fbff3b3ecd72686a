"""Which runs belong together, and which of them count."""

from pathlib import Path
from typing import Any

import pytest

from gls_lightning.reports._metric_table import MetricTable
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_config import flatten
from gls_lightning.reports.run_groups import differences, group_runs


def make_run(name: str, changes: dict[str, Any] | None = None, *, seed: int = 0, epochs: int = 2) -> Run:
    """A run of two epochs, with changes by dotted keys."""
    config = {
        "seed_everything": seed,
        "trainer.max_epochs": 2,
        "trainer.logger.init_args.name": name,
        "model.init_args.seed": seed,
        "model.init_args.relaxation.class_path": "gls_lightning.relaxations.IBP",
        "model.init_args.estimator.class_path": "gls_lightning.estimators.RGS",
        "data.init_args.seed": seed,
        **(changes or {}),
    }
    return Run(Path(name), name, flatten(config), "", "", MetricTable({}, epochs), {}, [])


@pytest.mark.parametrize(
    "change",
    [
        {"trainer.logger.init_args.version": 7, "trainer.logger.class_path": "WandbLogger"},
        {"trainer.default_root_dir": "/elsewhere", "data.init_args.root": "/elsewhere", "ckpt_path": "a.ckpt"},
        {"checkpoint": {"dirpath": "a"}, "import_paths": ["b"], "trainer.enable_progress_bar": False},
        {"trainer.callbacks": None, "imports": []},
        {"data.init_args.on_device": "auto", "model.init_args.relaxation.init_args.memory_budget": 4.0},
    ],
)
def test_seeds_and_bookkeeping_make_no_difference(change: dict[str, Any]) -> None:
    (group,) = group_runs([make_run("a"), make_run("b", change, seed=1)])
    assert [run.name for run in group.counted] == ["a", "b"]
    assert differences([group]) == {}


@pytest.mark.parametrize("key", ["trainer.max_steps", "data.init_args.batch_size", "checkpoints", "model.init_args.l1"])
def test_anything_else_does(key: str) -> None:
    groups = group_runs([make_run("a"), make_run("b", {key: 5}, seed=1)])
    assert differences(groups) == {key: ["—", "5"]}
    assert len({group.label for group in groups}) == 2


RHO = {"class_path": "gls_lightning.callbacks.AdaptiveRho"}
RHO_OPTIONS = {"shape": "epsilon", "factor": 0.01, "milestones": [], "start_epoch": 0, "end_epoch": 0}


def test_options_that_earlier_versions_lacked_make_no_difference_at_their_defaults() -> None:
    before = make_run("a", {"sigma_decay.factor": 0.4, "trainer.callbacks": [RHO]})
    later = {"shape": "step", "start_epoch": 0, "end_epoch": 0, "factor": 0.4, "ramp_factor": 1.0}
    options = {f"sigma_decay.{key}": value for key, value in later.items()}
    options["trainer.callbacks"] = [RHO | {"init_args": RHO_OPTIONS}]
    options["model.init_args.estimator.init_args.smallest_scale"] = 0.0
    assert len(group_runs([before, make_run("b", options, seed=1)])) == 1
    for change in (
        {"sigma_decay.shape": "linear"},
        {"sigma_decay.ramp_factor": 10},
        {"model.init_args.estimator.init_args.smallest_scale": 0.01},
        {"trainer.callbacks": [RHO | {"init_args": RHO_OPTIONS | {"factor": 0.1}}]},
        {"trainer.callbacks": [RHO, "another"]},
    ):
        assert len(group_runs([before, make_run("b", options | change, seed=1)])) == 2


def test_each_seed_may_start_from_a_version_of_the_same_run() -> None:
    start = "model.init_args.init_from"
    runs = [make_run(str(s), {start: f"runs/pgd/version_{s}/last.ckpt"}, seed=s) for s in (0, 1)]
    assert len(group_runs(runs)) == 1
    assert len(group_runs([*runs, make_run("2", {start: "runs/ibp/version_0/last.ckpt"}, seed=2)])) == 2


def test_of_one_seed_the_last_run_counts() -> None:
    (group,) = group_runs([make_run("a"), make_run("b", seed=1), make_run("c")])
    assert [run.name for run in group.counted] == ["c", "b"]
    assert group.notes == ["a has the seed of c and is not counted"]


def test_a_run_that_is_not_finished_counts_only_where_none_is() -> None:
    (group,) = group_runs([make_run("a"), make_run("b", seed=1, epochs=1)])
    assert [run.name for run in group.counted] == ["a"]
    assert group.notes == ["b is not finished and not counted"]
    (group,) = group_runs([make_run("b", epochs=1)])
    assert [run.name for run in group.counted] == ["b"]
    assert group.notes == ["b is not finished"]


@pytest.mark.parametrize(
    "change",
    [{"trainer.max_epochs": -1}, {"trainer.max_steps": 10}, {"trainer.callbacks": [{"class_path": "a.EarlyStopping"}]}],
)
def test_a_run_that_may_end_earlier_is_not_called_unfinished(change: dict[str, Any]) -> None:
    assert make_run("a", epochs=1).missing_epochs == 1
    assert make_run("a", change, epochs=1).missing_epochs == 0


def test_labels_name_components_and_options_only_if_need_be() -> None:
    relaxation = "model.init_args.relaxation.class_path"
    sigma = "model.init_args.estimator.init_args.sigma"
    labels = [g.label for g in group_runs([make_run("a"), make_run("b", {relaxation: "DeepPoly", sigma: 0.1})])]
    assert labels == ["IBP", "DeepPoly"]
    runs = [make_run("a"), make_run("b", {sigma: 0.1}), make_run("c", {"trainer.precision": 16})]
    assert [group.label.split(", ")[2:] for group in group_runs(runs)] == [
        ["IBP", "RGS", "sigma — (a)"],
        ["IBP", "RGS", "sigma 0.1"],
        ["IBP", "RGS", "sigma — (c)"],
    ]


def test_runs_without_configuration_are_apart() -> None:
    runs = [Run(Path(name), name, {}, "", "there is none", MetricTable({}), [], []) for name in "ab"]
    assert [group.label for group in group_runs([*runs, make_run("c")])] == [
        "a",
        "b",
        "network default, data default, IBP, RGS",
    ]


def test_the_memory_of_a_certifiers_relaxations_makes_no_difference() -> None:
    key = "model.init_args.certifier.init_args.relaxations"
    runs = [
        make_run(
            str(budget),
            {key: [{"class_path": "DeepPoly", "init_args": {"memory_budget": budget, "lower_slope": slope}}]},
        )
        for budget, slope in ((4.0, 0), ("auto", 0), ("auto", 1))
    ]
    assert len(group_runs(runs[:2])) == 1
    assert len(group_runs(runs)) == 2
