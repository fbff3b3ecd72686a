"""Every sweep in configs/sweeps, expanded by W&B's own agent, is understood by the command line; without a network."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from gls_lightning import cli, estimators
from gls_lightning.configuration.files import SHIPPED
from gls_lightning.main import main

wandb_agent = pytest.importorskip("wandb.wandb_agent")

SWEEPS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((SHIPPED / "sweeps").glob("*.yaml"))}
every_sweep = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent writes into a folder of the test, and the environment that it changes is restored."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"DIR": str(tmp_path), "SWEEP_ID": "sweep", "RUN_ID": "", "SWEEP_PARAM_PATH": ""}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def words_of(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The command with which W&B's agent would start a run with these values."""
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append(command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_agent, "AgentProcess", Process)
        agent = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep")
        agent._sweep_command = list(sweep["command"])
        arguments = {name: {"value": value} for name, value in values.items()}
        agent._command_run({"type": "run", "run_id": "run", "program": sweep["program"], "args": arguments})
    ((program, *words),) = started
    assert program == sweep["program"] == "gls"
    return words


def choices(parameter: dict[str, Any]) -> list[Any]:
    """All values of a parameter, or the ends of its distribution."""
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def combinations(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Every value of every parameter, beside the first ones of the others."""
    first = {name: choices(parameter)[0] for name, parameter in sweep["parameters"].items()}
    return [first | {name: value} for name, parameter in sweep["parameters"].items() for value in choices(parameter)]


def test_there_is_one_for_each_quantity() -> None:
    assert set(SWEEPS) == {"estimator", "learning_rate", "population_size", "sigma"}


@every_sweep
def test_every_value_reaches_the_configuration(sweep: dict[str, Any], parsed: list[cli.GLSCLI]) -> None:
    for values in combinations(sweep):
        main(words_of(sweep, values))
        config = parsed[-1].config.fit
        for name, value in values.items():
            found = config[name]
            assert (found.class_path.rpartition(".")[2] if isinstance(value, str) else found) == value


@every_sweep
def test_a_misspelt_parameter_is_refused(
    sweep: dict[str, Any], parsed: list[cli.GLSCLI], capsys: pytest.CaptureFixture[str]
) -> None:
    values = combinations(sweep)[0]
    for name in values:
        misspelt = f"{name[:-2]}{name[-1]}{name[-2]}"  # a shorter name might be taken for an abbreviation
        wrong = {misspelt if key == name else key: value for key, value in values.items()}
        with pytest.raises(SystemExit) as exit_:
            main(words_of(sweep, wrong))
        assert exit_.value.code == 2
        assert misspelt.rpartition(".")[2] in capsys.readouterr().err
    assert not parsed


@every_sweep
def test_what_the_sweep_watches_is_what_a_run_logs_where_the_sweep_looks(
    sweep: dict[str, Any], parsed: list[cli.GLSCLI]
) -> None:
    main(words_of(sweep, combinations(sweep)[0]))
    (run,) = parsed
    best = run.config.fit.checkpoint
    assert (sweep["metric"]["name"], sweep["metric"]["goal"]) == (best.monitor, best.mode + "imize")
    logger = run.config.fit.trainer.logger
    assert logger.class_path.endswith("WandbLogger")
    assert (logger.init_args.offline, logger.init_args.project) == (False, sweep["project"])
    assert run.datamodule.validation_size > 0, "the test images would choose"


@every_sweep
def test_no_run_is_ended_during_the_ramp(sweep: dict[str, Any], parsed: list[cli.GLSCLI]) -> None:
    main(words_of(sweep, combinations(sweep)[0]))
    config = parsed[0].config.fit
    earliest = sweep.get("early_terminate", {}).get("min_iter", config.trainer.max_epochs)
    assert 0 < config.epsilon_annealing.end_epoch < earliest <= config.trainer.max_epochs


class TestEstimators:
    parameter = SWEEPS["estimator"]["parameters"]["model.init_args.estimator"]

    def test_each_has_its_own_defaults(self, parsed: list[cli.GLSCLI]) -> None:
        """No option of the estimator of the configuration carries over to another class."""
        for name in self.parameter["values"]:
            main(words_of(SWEEPS["estimator"], {"model.init_args.estimator": name}))
            chosen = parsed[-1].config.fit.model.init_args.estimator
            parameters = signature(getattr(estimators, name)).parameters.values()
            defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
            assert (vars(chosen.init_args) if "init_args" in chosen else {}) == defaults

    def test_all_take_part(self) -> None:
        classes = (getattr(estimators, name) for name in estimators.__all__)
        shipped = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, estimators.GradientEstimator)}
        assert set(self.parameter["values"]) == shipped - {"GradientEstimator"}


def test_a_switch_and_a_number_arrive_as_the_agent_prints_them(parsed: list[cli.GLSCLI]) -> None:
    """Python's own spelling, for sweeps of one's own: True, False and 1e-05."""
    values = {"model.init_args.population_parallel": True, "trainer.use_distributed_sampler": False}
    main(words_of(SWEEPS["sigma"], {**values, "model.init_args.estimator.init_args.sigma": 1e-5}))
    config = parsed[0].config.fit
    assert config.model.init_args.population_parallel is True
    assert config.trainer.use_distributed_sampler is False
    assert config.model.init_args.estimator.init_args.sigma == 1e-5
