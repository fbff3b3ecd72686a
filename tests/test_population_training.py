"""Zeroth-order and two-step estimators in real fits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing, SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, SAM, GradientEstimator
from gls_lightning.relaxations import IBP, AlphaCROWN, Relaxation


def module(estimator: GradientEstimator, relaxation: Relaxation | None = None) -> CertifiedTrainingModule:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    return CertifiedTrainingModule(
        network=network,
        epsilon=0.02,
        relaxation=relaxation or IBP(),
        estimator=estimator,
        optimizer=lambda params: torch.optim.Adam(params, lr=0.02),
    )


def loader(batch_size: int = 10) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(40, 1, 2, 3, generator=generator)
    return DataLoader(TensorDataset(images, (images.flatten(1).sum(1) * 0.999 // 2).long()), batch_size)


def trainer(**options: Any) -> Trainer:
    return quiet_trainer(**{"max_epochs": 2, **options})


def sigmas(trained: CertifiedTrainingModule) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained.state_dict().items() if ".sigmas." in name}


@pytest.mark.parametrize("relaxation", [IBP(), AlphaCROWN(step_rule="sign")])
def test_pgpe_lowers_the_loss_of_any_relaxation(relaxation: Relaxation) -> None:
    trained = module(PGPE(population_size=32, initial_sigma=0.05), relaxation)
    runner, losses = trainer(max_epochs=15), []

    class Recorded(EpsilonAnnealing):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            losses.append(trainer.callback_metrics["train/loss"].item())

    runner.callbacks.append(Recorded())  # type: ignore[attr-defined]
    runner.fit(trained, loader(40))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("estimator", [lambda: PGPE(population_size=8), SAM, RGS])
def test_half_precision_leaves_perturbations_alone(estimator: Callable[[], GradientEstimator]) -> None:
    exact, half = module(estimator()), module(estimator())
    trainer().fit(exact, loader())
    trainer(precision="bf16-mixed").fit(half, loader())
    torch.testing.assert_close(half.state_dict(), exact.state_dict(), rtol=0, atol=0)


def test_a_fit_forgets_the_losses_of_one_that_failed() -> None:
    class Failing(IBP):
        broken = True

        def __call__(self, *args: Any) -> torch.Tensor:
            return super().__call__(*args) * (torch.nan if self.broken else 1)

    relaxation = Failing()
    trained = module(PGPE(population_size=4), relaxation)
    with pytest.raises(ConfigurationError, match="the loss is nan"):
        trainer().fit(trained, loader())
    relaxation.broken = False
    trainer().fit(trained, loader())
    assert all(sigma.isfinite().all() for sigma in sigmas(trained).values())


def test_a_checkpoint_of_another_estimator_is_refused(tmp_path: Path) -> None:
    runner = trainer(max_epochs=1)
    runner.fit(module(PGPE(population_size=4)), loader())
    runner.save_checkpoint(tmp_path / "pgpe.ckpt")
    with pytest.raises(ConfigurationError, match="the checkpoint is of another estimator"):
        trainer().fit(module(RGS()), loader(), ckpt_path=tmp_path / "pgpe.ckpt")


def test_an_estimator_without_population_refuses_to_share_it() -> None:
    refused = module(SAM())
    refused.population_parallel = True
    with pytest.raises(ConfigurationError, match="estimator SAM has none"):
        trainer().fit(refused, loader())


def test_sigma_is_learned_once_a_step_and_resumes_bitwise(tmp_path: Path) -> None:
    def estimator() -> PGPE:
        return PGPE(population_size=8, initial_sigma=0.05, sigma_learning_rate=1.0)

    whole, half, resumed = module(estimator()), module(estimator()), module(estimator())
    start = sigmas(whole)
    assert {"estimator.sigmas.network/1/weight"} < start.keys()
    trainer(max_epochs=4, accumulate_grad_batches=2).fit(whole, loader())
    assert all(not torch.equal(value, start[name]) for name, value in sigmas(whole).items())

    runner = trainer(accumulate_grad_batches=2)
    runner.fit(half, loader())
    runner.save_checkpoint(tmp_path / "half.ckpt")
    trainer(max_epochs=4, accumulate_grad_batches=2).fit(resumed, loader(), ckpt_path=tmp_path / "half.ckpt")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_frozen_parameters_have_no_sigma() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    network[1].bias.requires_grad_(False)
    trained = CertifiedTrainingModule(network=network, epsilon=0.02, estimator=PGPE(population_size=4))
    trainer(max_epochs=1).fit(trained, loader())
    assert list(sigmas(trained)) == ["estimator.sigmas.network/1/weight"]


def test_a_first_order_estimator_refuses_alpha_crown() -> None:
    with pytest.raises(ConfigurationError, match="AlphaCROWN has no useful gradients, which estimator RGS needs"):
        trainer().fit(module(RGS(), AlphaCROWN()), loader())


def test_sigma_decay_refuses_pgpe() -> None:
    with pytest.raises(ConfigurationError, match="PGPE has no sigma to decay"):
        trainer(callbacks=[SigmaDecay(milestones=[1])]).fit(module(PGPE(population_size=4)), loader())
