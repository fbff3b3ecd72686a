from collections.abc import Sequence
from typing import Any

import pytest
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn, rand, tensor
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing, SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, Backprop, GradientEstimator


class Sigmas(Callback):
    """The standard deviation of every batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.seen.append(pl_module.estimator.sigma.item())  # type: ignore[union-attr, operator]


def sigmas(
    decay: SigmaDecay,
    epochs: int,
    estimator: GradientEstimator | None = None,
    before: Sequence[Callback] = (),
    after: Sequence[Callback] = (),
    epsilon: float = 0.1,
) -> list[float]:
    """Those of a training with two batches in each epoch."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    module = CertifiedTrainingModule(network=network, epsilon=epsilon, estimator=estimator or RGS(sigma=1e-3))
    data = DataLoader(TensorDataset(rand(4, 1, 2, 2), tensor([0, 1, 0, 1])), batch_size=2)
    seen = Sigmas()
    quiet_trainer(max_epochs=epochs, callbacks=[*before, decay, *after, seen]).fit(module, data)
    return seen.seen


def test_leaves_the_configured_value() -> None:
    estimator = RGS(sigma=0.5)
    assert sigmas(SigmaDecay(milestones=[0]), 1, estimator) == pytest.approx([0.2, 0.2])
    assert estimator.sigma.item() == 0.5


def test_decays_at_the_milestones() -> None:
    found = sigmas(SigmaDecay(factor=0.4, milestones=[2, 1]), epochs=4)
    assert found == pytest.approx([1e-3, 1e-3, 4e-4, 4e-4, 1.6e-4, 1.6e-4, 1.6e-4, 1.6e-4])


def test_grows_evenly_between_two_epochs() -> None:
    found = sigmas(SigmaDecay(factor=3, shape="linear", start_epoch=1, end_epoch=3), epochs=4)
    assert found == pytest.approx([1e-3, 1e-3, 1e-3, 1.5e-3, 2e-3, 2.5e-3, 3e-3, 3e-3])


RAMP = EpsilonAnnealing(end_epoch=2, shape="linear")


@pytest.mark.parametrize("order", [{"before": [RAMP]}, {"after": [RAMP]}], ids=["ramp first", "ramp last"])
@pytest.mark.parametrize("epsilon", [0.1, 0.0])
def test_is_larger_while_epsilon_grows(order: Any, epsilon: float) -> None:
    found = sigmas(SigmaDecay(ramp_factor=9), epochs=3, epsilon=epsilon, **order)
    assert found == pytest.approx([9e-3, 7e-3, 5e-3, 3e-3, 1e-3, 1e-3])


def test_grows_with_epsilon_below_1() -> None:
    found = sigmas(SigmaDecay(ramp_factor=0.5), epochs=2, after=[EpsilonAnnealing(end_epoch=1, shape="linear")])
    assert found == pytest.approx([5e-4, 7.5e-4, 1e-3, 1e-3])


def test_the_ramp_comes_on_top_of_its_own_schedule() -> None:
    found = sigmas(SigmaDecay(ramp_factor=9, factor=0.5, milestones=[1]), epochs=3, after=[RAMP])
    assert found == pytest.approx([9e-3, 7e-3, 2.5e-3, 1.5e-3, 5e-4, 5e-4])


def test_leaves_the_configured_value_after_a_ramp() -> None:
    estimator = RGS(sigma=0.5)
    sigmas(SigmaDecay(ramp_factor=9), 1, estimator, after=[RAMP])
    assert estimator.sigma.item() == 0.5


def test_says_that_without_a_ramp_of_epsilon_its_factor_changes_nothing() -> None:
    message = "sigma_decay.ramp_factor is 9, but epsilon does not grow, so it changes nothing"
    with pytest.warns(UserWarning, match=message):
        assert sigmas(SigmaDecay(ramp_factor=9), epochs=1) == pytest.approx([1e-3, 1e-3])


def test_without_milestones_it_stays() -> None:
    assert sigmas(SigmaDecay(), epochs=1) == pytest.approx([1e-3, 1e-3])
    assert sigmas(SigmaDecay(), epochs=1, estimator=PGPE(population_size=4, sigma_learning_rate=0.0))


@pytest.mark.parametrize("estimator", [Backprop(), PGPE(population_size=4)])
def test_refuses_estimators_without_sigma_of_their_own(estimator: GradientEstimator) -> None:
    name = type(estimator).__name__
    with pytest.raises(ConfigurationError, match=rf"milestones \[3\], but the estimator {name} has no sigma"):
        sigmas(SigmaDecay(milestones=[3]), 1, estimator)
    with pytest.raises(ConfigurationError, match=f"end_epoch 3, but the estimator {name} has no sigma"):
        sigmas(SigmaDecay(shape="cosine", end_epoch=3), 1, estimator)
    with pytest.raises(ConfigurationError, match=f"ramp_factor 2, but the estimator {name} has no sigma"):
        sigmas(SigmaDecay(ramp_factor=2), 1, estimator)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0}, "sigma_decay.factor is 0; it must be positive and finite"),
        ({"ramp_factor": 0}, "sigma_decay.ramp_factor is 0; it must be positive and finite"),
        ({"shape": "linear"}, "sigma_decay.end_epoch is 0; it must be at least 1 with linear"),
        ({"shape": "linear", "end_epoch": 3, "milestones": [1]}, "milestones need the shape step"),
        ({"end_epoch": 3}, "sigma_decay.end_epoch is 3, but the shape is step"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SigmaDecay(**options)


def test_warns_of_what_lies_behind_the_fit() -> None:
    with pytest.warns(UserWarning, match=r"sigma_decay has the milestones \[5\], but training ends with epoch 2"):
        sigmas(SigmaDecay(milestones=[1, 5]), epochs=2)
    with pytest.warns(UserWarning, match=r"sigma_decay has end_epoch 5, .* sigma gets to 0.00082, 82.0% of 0.001"):
        sigmas(SigmaDecay(shape="linear", end_epoch=5), epochs=2)
