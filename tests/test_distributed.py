"""Two processes take the same steps as one."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EMA, PeriodicCertification
from gls_lightning.data import ImageDataModule
from gls_lightning.estimators import PGPE, RGS, SAM, GradientEstimator, Reducer
from gls_lightning.relaxations import IBP


class Noise(ImageDataModule):
    """Twenty-one images: batches of 8, 8 and an odd rest."""

    input_shape = (1, 4, 4)
    num_classes = 3

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(train))
        return torch.randint(256, (21, 1, 4, 4), generator=generator, dtype=torch.uint8), torch.arange(21) % 3


def network(batch_norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *hidden, nn.ReLU(), nn.Linear(8, 3))


class Counting(CertifiedTrainingModule):
    """Logs how many numbers the estimator sent to the other processes in a batch."""

    def _reducer(self, share: Tensor | float) -> Reducer:
        reduce, sent = super()._reducer(share), []

        def counted(value: Tensor) -> Tensor:
            sent.append(value.numel())
            self.log("sent", float(sum(sent)))
            return reduce(value)

        return counted

    def on_train_start(self) -> None:
        wrapped = self.trainer.strategy.model
        buffers = wrapped.modules_buffers if isinstance(wrapped, DistributedDataParallel) else []
        self.log("broadcast", float(sum(buffer.numel() for buffer in buffers)))

    def on_train_end(self) -> None:
        state = torch.cat([tensor.flatten().float() for tensor in self.state_dict().values()])
        assert torch.equal(self.all_gather(state).view(-1, len(state)).amax(0), state), (
            "the processes ended with different tensors"
        )


def sgd(params: Any) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr=0.1, momentum=0.9)


def train(
    folder: Path,
    *,
    processes: int,
    batch_size: int,
    batch_norm: bool = False,
    population_parallel: bool = False,
    distributed_sampler: bool | None = None,
    estimator: Callable[[], GradientEstimator] = lambda: RGS(population_size=2, sigma=0.05),
    average: Callable[[], list[EMA]] = list,
    **options: Any,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights after two epochs, and the metrics."""
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    module = Counting(
        network=network(batch_norm),
        epsilon=0.02,
        relaxation=IBP(),
        estimator=estimator(),
        optimizer=sgd,
        population_parallel=population_parallel,
    )
    trainer = quiet_trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp_fork" if processes > 1 else "auto",
        use_distributed_sampler=not population_parallel if distributed_sampler is None else distributed_sampler,
        max_epochs=2,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        callbacks=[PeriodicCertification(samples=9), *average()],
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=Noise(batch_size=batch_size))
    return module.state_dict(), trainer.callback_metrics


def pgpe() -> PGPE:
    return PGPE(population_size=8, initial_sigma=0.05, sigma_learning_rate=1.0)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"batch_size": 4, "estimator": pgpe}, id="PGPE, shards"),
        pytest.param({"batch_size": 4, "estimator": pgpe, "accumulate_grad_batches": 2}, id="PGPE, accumulated"),
        pytest.param({"batch_size": 8, "estimator": pgpe, "population_parallel": True}, id="PGPE, shared population"),
        pytest.param({"batch_size": 4, "estimator": lambda: SAM(rho=0.1)}, id="SAM, shards"),
        pytest.param({"batch_size": 4, "estimator": pgpe, "precision": "bf16-mixed"}, id="PGPE, shards, bf16-mixed"),
        pytest.param({"batch_size": 4}, id="shards of a batch, the last one uneven"),
        pytest.param({"batch_size": 4, "accumulate_grad_batches": 2}, id="accumulated gradients"),
        pytest.param({"batch_size": 8, "population_parallel": True}, id="shares of a population"),
        pytest.param(
            {"batch_size": 8, "population_parallel": True, "batch_norm": True, "average": lambda: [EMA(decay=0.5)]},
            id="shares of a population, BatchNorm, moving average",
        ),
    ],
)
def test_two_processes_step_like_one(options: dict[str, Any], tmp_path: Path) -> None:
    one, one_metrics = train(tmp_path, processes=1, **{**options, "batch_size": 8})
    two, two_metrics = train(tmp_path, processes=2, **options)
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
    for name in one_metrics.keys() - {"train/loss", "broadcast"}:  # its last value is that of a rank
        torch.testing.assert_close(two_metrics[name], one_metrics[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("population_parallel", [False, True])
def test_pgpe_sends_its_losses_alone(population_parallel: bool, tmp_path: Path) -> None:
    sizes = {"batch_size": 8 if population_parallel else 4, "population_parallel": population_parallel}
    _, metrics = train(tmp_path, processes=2, estimator=pgpe, **sizes)
    assert metrics["sent"] == pgpe().population_size
    assert metrics["broadcast"] == 1, "more than the radius"


def test_population_parallel_refuses_a_population_that_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="population_size is 2; it must be a multiple of the 3 processes"):
        train(tmp_path, processes=3, batch_size=8, population_parallel=True)


def test_population_parallel_refuses_shards(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="population_parallel needs the same batch on every process"):
        train(tmp_path, processes=2, batch_size=4, population_parallel=True, distributed_sampler=True)
