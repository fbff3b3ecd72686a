"""Search spaces of ``gls front``."""

from typing import Any

import pytest
from optuna import create_study
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from gls_lightning.commands.front.search_space import options_of_fit, read_space
from gls_lightning.errors import ConfigurationError


def test_every_kind_of_variable() -> None:
    content = {
        "model.estimator": {"values": ["Backprop", {"class_path": "RGS"}]},
        "model.estimator.sigma": {"low": 1.0e-3, "high": 0.1, "log": True, "only_if": {"model.estimator": "Backprop"}},
        "model.optimizer.lr": {"low": 0.0, "high": 1},
        "epsilon_annealing.end_epoch": {"low": 2, "high": 4},
    }
    space = read_space(content, "space.yaml")
    study = create_study(sampler=RandomSampler(seed=0))
    chosen = [space.suggest(study.ask()) for _ in range(40)]
    assert {str(of["model.estimator"]) for of in chosen} == {"Backprop", "{'class_path': 'RGS'}"}
    assert all(("model.estimator.sigma" in of) == (of["model.estimator"] == "Backprop") for of in chosen)
    sigmas = [of["model.estimator.sigma"] for of in chosen if "model.estimator.sigma" in of]
    assert 0.2 < sum(sigma < 0.01 for sigma in sigmas) / len(sigmas) < 0.8  # even in the logarithm
    assert {of["epsilon_annealing.end_epoch"] for of in chosen} == {2, 3, 4}
    section = FixedTrial(
        {"model.estimator": '{"class_path": "RGS"}', "model.optimizer.lr": 0.5, "epsilon_annealing.end_epoch": 2}
    )
    assert options_of_fit(space.suggest(section)) == [
        '--model.estimator={"class_path": "RGS"}',
        "--model.optimizer.lr=0.5",
        "--epsilon_annealing.end_epoch=2",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "space.yaml must hold keys of a configuration"),
        ({"a.b": 3}, "a.b of space.yaml is 3; it must be a range"),
        ({"a.b": {"low": 1}}, "high of a.b of space.yaml is None; it must be a number"),
        ({"a.b": {"low": "1e-4", "high": 1}}, "is '1e-4'; it must be a number (YAML reads 1e-4 as text; write 1.0e-4)"),
        ({"a.b": {"low": 2, "high": 1}}, "low of a.b of space.yaml is 2; it must be less than high, 1"),
        ({"a.b": {"low": 0, "high": 1, "log": True}}, "low of a.b of space.yaml is 0; it must be positive with log"),
        ({"a.b": {"low": 0, "high": 1, "log": 1}}, "log of a.b of space.yaml is 1; it must be true or false"),
        ({"a.b": {"values": []}}, "values of a.b of space.yaml is []; it must be a list"),
        ({"a.b": {"values": [1], "low": 0}}, "it must be a range"),
        ({"a.b": {"lo": 1, "high": 2}}, "a.b of space.yaml has lo; near: low"),
        ({"a.b": {"values": [1], "only_if": {"c": 1}}}, "names c, which must be a key above it"),
        (
            {"seed_everything": {"low": 0, "high": 9}},
            "may not vary: seeds are no setting",
        ),
        ({"data.validation_size": {"low": 1, "high": 9}}, "may not vary: all must be compared on the same"),
    ],
)
def test_bad_spaces(content: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_space(content, "space.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
