"""Each way to a number that is not finite, and what is said of it."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import Graph
from gls_lightning.callbacks import NonFiniteGuard
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, Backprop
from gls_lightning.objectives import Batch, Certified
from gls_lightning.relaxations import IBP, Relaxation
from gls_lightning.training.non_finite_cause import cause_of_loss

SGD = partial(torch.optim.SGD, lr=0.1)


def mlp(first: float = 1.0, second: float = 1.0, *, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    norms = [nn.BatchNorm1d(8)] if norm else []
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), *norms, nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        network[1].weight.mul_(first)
        network[-1].weight.mul_(second)
    return network


class Changed(Certified):
    """A loss that is changed from the third batch on."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change, self.batches = change, 0

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().__call__(graph, relaxation, tensors, batch)
        self.batches += 1
        return (self.change(loss) if self.batches > 2 else loss), metrics


class Spoilt(Callback):
    """Puts NaN into a tensor of the module before the third batch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            tensors = {**dict(pl_module.named_parameters()), **dict(pl_module.named_buffers())}
            tensors[self.name].data.fill_(float("nan"))


def stop(network: nn.Module, *callbacks: Callback, path: Path | None = None, pixel: float = 0.5, **options: Any) -> str:
    """The message with which six steps of four images end."""
    defaults = {"epsilon": 0.05, "relaxation": IBP(), "estimator": Backprop(), "optimizer": SGD}
    module = CertifiedTrainingModule(network=network, **{**defaults, **options})
    trainer = quiet_trainer(
        max_epochs=3,
        callbacks=list(callbacks),
        enable_checkpointing=path is not None,
        default_root_dir=path,
    )
    images = pixel + pixel * torch.linspace(-1, 1, 48).view(8, 1, 2, 3)
    data = TensorDataset(images, torch.arange(8) % 3)
    with pytest.raises(ConfigurationError) as stopped:
        trainer.fit(module, DataLoader(data, 4))
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


def overflowing() -> nn.Module:
    """Sums before BatchNorm that are too large for float32."""
    network = mlp(norm=True)
    network[1].weight.data.fill_(3e38)
    return network


def nan_weight() -> nn.Module:
    network = mlp()
    network[1].bias.data[0] = float("nan")
    return network


def nan_gradient(loss: Tensor) -> Tensor:
    return loss + (loss.detach() - loss).sqrt()


@pytest.fixture(params=["CPU", "GPU"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A CPU, and one that is taken for a GPU; each of the two batches of an epoch is one that is read."""
    if request.param == "GPU":
        monkeypatch.setattr("gls_lightning.callbacks.non_finite_guard.reading_waits", lambda value: True)
    return request.param


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        pytest.param({"network": nan_weight()}, ["training would start", "nan in network.1.bias"], id="initialisation"),
        pytest.param(
            {"network": mlp(), "objective": Changed(lambda loss: loss * float("nan"))},
            ["the loss is nan at step 2 (batch 2, epoch 1, epsilon 0.05)", "are finite", "Changed with IBP produced"],
            id="objective",
        ),
        pytest.param(
            {"network": mlp(), "objective": Changed(lambda loss: loss * float("inf")), "estimator": RGS(sigma=0.01)},
            ["the loss is inf at step 1", "epsilon 0.05, sigma 0.01", "for one of the 2 members"],
            id="member",
        ),
        pytest.param(
            {"network": mlp(), "objective": Changed(nan_gradient)},
            ["the gradient is not finite at step 2", "the loss is finite", "nan in network.1.weight and 3 more"],
            id="derivative",
        ),
        pytest.param(
            {"network": mlp(), "objective": Changed(lambda loss: loss + (loss - loss.detach()) * 1e25)},
            ["the gradient is not finite at step 2", "every derivative, but their norm overflows", "learning rate"],
            id="norm of the gradient",
        ),
        pytest.param(
            {"network": mlp(), "optimizer": partial(torch.optim.SGD, lr=float("inf"))},
            ["the step of SGD before made the weights not finite", "with learning rate inf"],
            id="learning rate",
        ),
        pytest.param(
            {"network": mlp(first=0.0), "optimizer": partial(torch.optim.Adam, eps=0.0), "pixel": 0.0, "epsilon": 0.0},
            ["the step of Adam before made the weights not finite (nan in network.1.weight", "learning rate 0.001"],
            id="optimizer",
        ),
        pytest.param(
            {"network": mlp(1e20, 1e20)},
            ["at step 0", "the largest weight 3.9e+19", "the network's values at '3' are not", "no step was taken yet"],
            id="values",
        ),
        pytest.param(
            {"network": mlp(1e20, 1e20), "pixel": 0.0},
            ["at step 0", "the interval bounds at '3' are not"],
            id="bounds",
        ),
        pytest.param(
            {"network": overflowing()}, ["BatchNorm's statistics of the batch are (", " in 2.running_mean"],
            id="BatchNorm",
        ),
    ],
)  # fmt: skip
def test_is_blamed_on_what_produced_it(arguments: dict[str, Any], parts: list[str], device: str) -> None:
    message = stop(**deepcopy(arguments))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("network.1.weight", {}, ["at step 2", "made the weights not finite (nan in network.1.weight)"]),
        (
            "estimator.sigma",
            {"estimator": RGS()},
            ["at step 2", "the weights are finite, but not a buffer: nan in estimator.sigma"],
        ),
    ],
)
def test_what_others_spoil_is_named(name: str, options: dict[str, Any], parts: list[str]) -> None:
    message = stop(mlp(), Spoilt(name), **options)
    assert all(part in message for part in parts), message


def test_standard_deviations_of_pgpe() -> None:
    name = next(
        n
        for n, _ in CertifiedTrainingModule(network=mlp(), epsilon=0.1, estimator=PGPE()).named_buffers()
        if n.startswith("estimator")
    )
    message = stop(mlp(), Spoilt(name), estimator=PGPE(population_size=4))
    assert f"but not a buffer: nan in {name}" in message


def test_images() -> None:
    images = torch.full((4, 1, 2, 3), 0.5)
    images[1, 0, 1, 2] = float("nan")
    module = CertifiedTrainingModule(network=mlp(), epsilon=0.05, relaxation=IBP(), input_shape=(1, 2, 3))
    assert (
        cause_of_loss(module, (images, torch.zeros(4)), [], 0)
        == "the data are to blame: nan in the images of the batch"
    )


class Own(LightningModule):
    """Somebody's module, which knows nothing of bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0].flatten(1)).sum() * float("nan")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_other_modules() -> None:
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[NonFiniteGuard()], logger=False, enable_checkpointing=False
    )
    with pytest.raises(
        ConfigurationError, match=r"the loss is nan at step 0 \(batch 0, epoch 0\).*own loss produced it"
    ):
        trainer.fit(Own(), DataLoader(TensorDataset(torch.rand(4, 1, 2, 3)), 2))


def test_weights_that_the_last_step_spoilt_are_not_written(tmp_path: Path, device: str) -> None:
    """The sixth step, of the last epoch: no loss follows it."""

    class Last(torch.optim.SGD):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            loss = super().step(closure)
            self.steps += 1
            if self.steps == 6:
                self.param_groups[0]["params"][0].data[0, 0] = float("inf")
            return loss

    message = stop(mlp(), path=tmp_path, optimizer=partial(Last, lr=0.1))
    assert "a checkpoint is not written at step 6" in message
    assert "the step of Last before made the weights not finite (inf in network.1.weight)" in message
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["global_step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
