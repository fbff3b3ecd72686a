import copy
import pickle
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import AdaptiveRho, EpsilonAnnealing
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, SAM, GradientEstimator
from gls_lightning.relaxations import IBP
from gls_lightning.schedules import Linear


class Recording(SAM):
    """Notes rho at every step."""

    def forward(self, *args: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), self.rho.item()]
        return super().forward(*args)


def fit(estimator: GradientEstimator, *callbacks: Callback, epsilon: float = 0.02) -> None:
    """Two epochs of four batches."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    trained = CertifiedTrainingModule(
        network=network, epsilon=epsilon, estimator=estimator, relaxation=IBP(), optimizer=torch.optim.Adam
    )
    data = DataLoader(TensorDataset(torch.rand(8, 1, 1, 2), torch.arange(8) % 2), batch_size=2)
    quiet_trainer(max_epochs=2, callbacks=list(callbacks)).fit(trained, data)


def rhos(*callbacks: Callback, epsilon: float = 0.02) -> list[float]:
    """Rho, which was configured to be 0.1, at every step."""
    estimator = Recording(rho=0.1)
    fit(estimator, *callbacks, epsilon=epsilon)
    assert estimator.rho.item() == pytest.approx(0.1)  # as it was configured
    return estimator.seen


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("epsilon", [0.02, 0.0])
def test_follows_the_radius(order: int, epsilon: float) -> None:
    found = rhos(*[EpsilonAnnealing(end_epoch=1, shape="linear"), AdaptiveRho()][::order], epsilon=epsilon)
    assert found == pytest.approx([*[0.1 * (1 - 0.99 * batch / 4) for batch in range(4)], *[0.001] * 4], rel=1e-5)


def test_without_a_ramp_it_is_that_of_the_whole_radius() -> None:
    assert rhos(AdaptiveRho()) == pytest.approx([0.001] * 8, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"shape": "linear", "start_epoch": 1, "end_epoch": 2}, [*[0.1] * 5, 0.0875, 0.075, 0.0625]),
        ({"shape": "step", "milestones": [1]}, [*[0.1] * 4, *[0.05] * 4]),
    ],
)
def test_schedules_of_its_own(options: dict[str, Any], expected: list[float]) -> None:
    assert rhos(EpsilonAnnealing(end_epoch=1), AdaptiveRho(factor=0.5, **options)) == pytest.approx(expected)


def test_a_module_can_be_copied_while_it_follows_the_radius() -> None:
    copies: list[CertifiedTrainingModule] = []

    class Copies(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            kept = pl_module.trainer
            pl_module.trainer = None
            copies.extend([copy.deepcopy(pl_module), pickle.loads(pickle.dumps(pl_module))])
            pl_module.trainer = kept

    fit(SAM(rho=0.1), AdaptiveRho(), EpsilonAnnealing(end_epoch=1), Copies())
    for copied in copies:
        copied.epsilon_schedule = Linear(0, 2)
        assert copied.estimator_schedules["rho"].fraction(1) == pytest.approx(1 - 0.99 / 2)


def test_needs_sam() -> None:
    with pytest.raises(ConfigurationError, match="AdaptiveRho needs the estimator SAM, not RGS"):
        fit(RGS(), AdaptiveRho())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0.0}, "AdaptiveRho.factor is 0.0; it must be positive and finite"),
        ({"milestones": [1]}, "AdaptiveRho.shape is 'epsilon'; it must be one that has milestones, or give none"),
        ({"end_epoch": 1}, "AdaptiveRho.shape is 'epsilon'; it must be one that has a start_epoch and an end_epoch"),
        ({"shape": "step"}, r"AdaptiveRho.milestones is \[\]"),
        ({"shape": "cosine"}, "AdaptiveRho.end_epoch is 0"),
        ({"shape": "other"}, "AdaptiveRho.shape is 'other'; it must be one of smooth, linear, cosine, step"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AdaptiveRho(**options)
