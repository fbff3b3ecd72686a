from typing import Any
from unittest.mock import Mock

import pytest
import torch
from common.trainers import quiet_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Backprop, GradientEstimator
from gls_lightning.relaxations import IBP


def module(estimator: GradientEstimator) -> CertifiedTrainingModule:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    return CertifiedTrainingModule(network=network, epsilon=0.1, estimator=estimator, relaxation=IBP())


class Recording(RGS):
    """Notes sigma at every step."""

    def forward(self, *args: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), self.sigma.item()]
        return super().forward(*args)


def sigmas(decay: SigmaDecay, epochs: int = 4) -> list[float]:
    """Sigma, which was configured to be 2, at every step of epochs of two batches."""
    estimator = Recording(sigma=2.0)
    data = DataLoader(TensorDataset(torch.rand(4, 1, 1, 2), torch.tensor([0, 1, 0, 1])), batch_size=2)
    quiet_trainer(max_epochs=epochs, callbacks=[decay]).fit(module(estimator), data)
    assert estimator.sigma.item() == 2  # as it was configured
    return estimator.seen


def test_decays_at_the_milestones() -> None:
    found = sigmas(SigmaDecay(factor=0.4, milestones=[1, 3]))
    assert found == pytest.approx([2, 2, 0.8, 0.8, 0.8, 0.8, 0.32, 0.32])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [2, 2, 2, 1.75, 1.5, 1.25, 1, 1]),
        ("cosine", [2, 2, 2, 1.8535534, 1.5, 1.1464466, 1, 1]),
        ("smooth", [2, 2, 2, 2 - 1 / 13, 2 - 5 / 13, 2 - 9 / 13, 1, 1]),
    ],
)
def test_ramps_end_at_the_factor(shape: Any, expected: list[float]) -> None:
    assert sigmas(SigmaDecay(factor=0.5, shape=shape, start_epoch=1, end_epoch=3)) == pytest.approx(expected)


def test_refuses_estimators_without_sigma() -> None:
    with pytest.raises(ConfigurationError, match=r"milestones \[3\], but the estimator Backprop has no sigma"):
        SigmaDecay(milestones=[3]).on_fit_start(Mock(), module(Backprop()))
    with pytest.raises(ConfigurationError, match=r"end_epoch 3, but the estimator Backprop has no sigma"):
        SigmaDecay(end_epoch=3, shape="linear").on_fit_start(Mock(), module(Backprop()))
    SigmaDecay().on_fit_start(Mock(), module(Backprop()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0}, "sigma_decay.factor is 0; it must be positive and finite"),
        ({"end_epoch": 3}, "sigma_decay.end_epoch is 3; it must be 0 where shape is step"),
        ({"shape": "linear"}, "sigma_decay.end_epoch is 0; it must be at least 1 where shape is linear"),
        (
            {"shape": "cosine", "end_epoch": 3, "milestones": [2]},
            r"sigma_decay.milestones is \[2\]; it must be \[\] where shape is cosine",
        ),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SigmaDecay(**options)


def test_warns_of_a_ramp_that_ends_behind_the_fit() -> None:
    message = r"sigma_decay has end_epoch 4, but training ends with epoch 2 \(4 steps\): sigma gets to 1.62, 81.2% of 2"
    with pytest.warns(UserWarning, match=message):
        sigmas(SigmaDecay(factor=0.5, shape="linear", end_epoch=4), epochs=2)
