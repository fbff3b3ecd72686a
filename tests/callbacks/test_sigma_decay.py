from unittest.mock import Mock

import pytest
import torch
from torch import nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Backprop, GradientEstimator


def module(estimator: GradientEstimator) -> CertifiedTrainingModule:
    return CertifiedTrainingModule(network=nn.Linear(2, 2), epsilon=0.1, estimator=estimator)


def test_decays_at_the_milestones() -> None:
    decay, trained = SigmaDecay(factor=0.4, milestones=[50, 60]), module(RGS(sigma=1e-3))
    sigmas = []
    for epoch in (0, 49, 50, 59, 60, 69):
        decay.on_train_batch_start(Mock(current_epoch=epoch), trained, None, 0)
        sigmas.append(trained.estimator.sigma.item())  # type: ignore[union-attr, operator]
    assert sigmas == pytest.approx([1e-3, 1e-3, 4e-4, 4e-4, 1.6e-4, 1.6e-4])


def test_a_run_that_goes_back_goes_back() -> None:
    decay, trained = SigmaDecay(milestones=[1]), module(RGS(sigma=1.0))
    for epoch in (2, 0):
        decay.on_train_batch_start(Mock(current_epoch=epoch), trained, None, 0)
    assert torch.equal(trained.estimator.sigma, torch.tensor(1.0))  # type: ignore[arg-type]


def test_refuses_estimators_without_sigma() -> None:
    with pytest.raises(ConfigurationError, match=r"milestones \[3\], but the estimator Backprop has no sigma"):
        SigmaDecay(milestones=[3]).on_fit_start(Mock(), module(Backprop()))
    SigmaDecay().on_fit_start(Mock(), module(Backprop()))


def test_bad_factor() -> None:
    with pytest.raises(ConfigurationError, match="factor is 0"):
        SigmaDecay(factor=0)
