"""The network of the published state of the art, with BatchNorm, trains with every objective."""

import copy

import pytest
import torch
from common.trainers import quiet_trainer
from torch import Tensor

from gls_lightning import CertifiedTrainingModule
from gls_lightning.attacks import PGD
from gls_lightning.callbacks import EpsilonAnnealing
from gls_lightning.data import ImageDataModule
from gls_lightning.estimators import RGS, Backprop, GradientEstimator
from gls_lightning.networks import CNN7
from gls_lightning.objectives import (
    CCIBP,
    EXPIBP,
    MTLIBP,
    SABR,
    STAPS,
    TAPS,
    Adversarial,
    Certified,
    Objective,
    ShiRegularizer,
    Standard,
)
from gls_lightning.relaxations import CROWNIBP, IBP, Relaxation

ATTACK = PGD(steps=2, restarts=1)
LATENT = PGD(steps=2, restarts=1, step_size=0.8)


class Digits28(ImageDataModule):
    """Random images of MNIST's shape."""

    input_shape = (1, 28, 28)
    num_classes = 10

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return torch.randint(256, (8, 1, 28, 28), generator=generator, dtype=torch.uint8), torch.arange(8)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [Backprop(), RGS()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    ("objective", "relaxation"),
    [
        (Standard(), IBP()),
        (Adversarial(attack=ATTACK), IBP()),
        (Certified(natural_weight=0.3), IBP()),
        (Certified(), IBP(relu_shrinkage=0.8)),
        (Certified(loss_fusion=True), CROWNIBP()),
        (SABR(attack=ATTACK), IBP()),
        (TAPS(classifier_relus=3, latent_attack=LATENT), IBP()),
        (STAPS(attack=ATTACK, latent_attack=LATENT), IBP()),
        (MTLIBP(alpha=0.1, attack=ATTACK), IBP()),
        (MTLIBP(alpha=0.1, attack=ATTACK), CROWNIBP()),
        (CCIBP(alpha=0.1, attack=ATTACK), IBP()),
        (EXPIBP(alpha=0.1, attack=ATTACK), IBP()),
    ],
    ids=lambda part: type(part).__name__,
)
def test_trains(objective: Objective, relaxation: Relaxation, estimator: GradientEstimator) -> None:
    """Two epochs of 2 steps, the first with the regulariser, whose loss reaches every parameter."""
    torch.manual_seed(0)
    network = CNN7(batch_norm=True, initialization="ibp")
    start = copy.deepcopy(network.state_dict())
    module = CertifiedTrainingModule(
        network=network, epsilon=0.1, relaxation=relaxation, objective=objective, estimator=copy.deepcopy(estimator),
        regularizer=ShiRegularizer(), l1=1e-6, optimizer=lambda params: torch.optim.SGD(params, lr=1e-3),
    )  # fmt: skip
    callbacks = [EpsilonAnnealing(end_epoch=1)]
    trainer = quiet_trainer(max_epochs=2, limit_val_batches=0, gradient_clip_val=10, callbacks=callbacks)
    trainer.fit(module, datamodule=Digits28(batch_size=4))
    assert trainer.callback_metrics["train/loss"].isfinite()
    for name, value in network.state_dict().items():
        assert value.isfinite().all(), name
        if name.endswith(("weight", "running_mean")):  # in front of BatchNorm biases change nothing
            assert not torch.equal(value, start[name]), name
