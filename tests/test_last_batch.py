"""Batches of one image under BatchNorm, which PyTorch itself refuses in training mode."""

from collections.abc import Sized
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import trace
from gls_lightning.data import Digits
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, Backprop, GradientEstimator
from gls_lightning.relaxations import IBP
from gls_lightning.training.population_statistics import _training_batches


def vectors() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10))


def single_positions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 6, 8), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 10))


def maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))


def without() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def loader(size: int = 9, batch_size: int = 4, **options: Any) -> DataLoader[Any]:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.rand(size, 1, 8, 8), torch.arange(size) % 10), batch_size, **options)


class Sizes(Callback):
    """Those of the batches, by epoch."""

    def __init__(self) -> None:
        self.sizes: dict[int, list[int]] = {}
        self.indices: dict[int, set[int]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.sizes.setdefault(trainer.current_epoch, []).append(len(batch[1]))
        if len(batch) > 2:
            self.indices.setdefault(trainer.current_epoch, set()).update(batch[2].tolist())


def fit(network: nn.Module, data: Any, *, input_shape: Any = None, **options: Any) -> Sizes:
    estimator: GradientEstimator = options.pop("estimator", Backprop())
    module = CertifiedTrainingModule(
        network=network, epsilon=0.02, relaxation=IBP(), estimator=estimator, input_shape=input_shape
    )
    sizes = Sizes()
    trainer = quiet_trainer(callbacks=[sizes], **{"max_epochs": 2, "num_sanity_val_steps": 0, **options})
    try:
        trainer.fit(module, data)
    finally:
        sizes.sizes.setdefault(0, [])
    return sizes


@pytest.mark.parametrize("network", [vectors, single_positions])
@pytest.mark.parametrize("estimator", [Backprop(), RGS(), PGPE(population_size=4)], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("shape", [None, (1, 8, 8)])
def test_is_refused_before_the_first_step(network: Any, estimator: GradientEstimator, shape: Any) -> None:
    built = network()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with pytest.raises(ConfigurationError, match=r"batch 2, the last of each epoch, has 1 image.* drop_last=True"):
        fit(built, loader(), estimator=estimator, input_shape=shape)
    torch.testing.assert_close(built.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "data", "options"),
    [
        (vectors, {"drop_last": True}, {}),
        (vectors, {"size": 10}, {}),
        (vectors, {}, {"limit_train_batches": 2}),
        (vectors, {}, {"max_steps": 2}),
        (maps, {}, {}),
        (maps, {"batch_size": 1}, {}),
        (without, {}, {}),
    ],
)
def test_what_trains(network: Any, data: dict[str, Any], options: dict[str, Any]) -> None:
    assert sum(fit(network(), loader(**data), **options).sizes[0]) >= 8


def test_batches_of_one_image_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="has 1 image"):
        fit(vectors(), loader(batch_size=1))


class Longer(SequentialSampler):
    """Says that it gives one entry more than it does."""

    def __len__(self) -> int:
        return len(cast(Sized, self.data_source)) + 1


def test_what_is_not_known_before_is_refused_at_the_batch() -> None:
    data = loader()
    hidden = DataLoader(data.dataset, 4, sampler=Longer(data.dataset))
    module = CertifiedTrainingModule(network=vectors(), epsilon=0.02, relaxation=IBP(), estimator=Backprop())
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ConfigurationError, match=r"batch 2 of epoch 0 has 1 image.* drop_last=True"):
        trainer.fit(module, hidden)
    assert trainer.global_step == 2


def test_statistics_of_one_image_are_refused_wherever_they_are_computed() -> None:
    network = vectors()
    graph, tensors = trace(network, (1, 8, 8)), network.state_dict()
    with pytest.raises(ConfigurationError, match="batch of two images"):
        graph.batch_statistics(tensors, torch.rand(1, 1, 8, 8))
    assert graph.batch_statistics(tensors, torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("network", "drop_last", "size", "sizes"),
    [
        (vectors, None, 33, [16, 16]),
        (maps, None, 33, [16, 16]),
        (vectors, None, 34, [16, 16, 2]),
        (vectors, True, 40, [16, 16]),
        (without, None, 33, [16, 16, 1]),
        (without, True, 33, [16, 16]),
        (maps, False, 33, [16, 16, 1]),
    ],
)
def test_data_modules_leave_out_a_last_batch(network: Any, drop_last: bool | None, size: int, sizes: list[int]) -> None:
    seen = fit(network(), Digits(batch_size=16, train_size=size, test_size=10, drop_last=drop_last))
    assert seen.sizes == {0: sizes, 1: sizes}
    if sum(sizes) < size:
        assert seen.indices[0] != seen.indices[1]


def test_data_modules_keep_it_where_they_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"batch 2, the last of each epoch, .*data\.drop_last: true"):
        fit(vectors(), Digits(batch_size=16, train_size=33, test_size=10, drop_last=False))
    with pytest.raises(ConfigurationError, match=r"10 training images are too few .* data\.drop_last True"):
        fit(without(), Digits(batch_size=16, train_size=10, test_size=10, drop_last=True))


def test_population_statistics_come_from_no_single_image() -> None:
    """Thirteen images in two processes: seven and six in an epoch, but 4 + 4 + 4 + 1 in order."""
    batches: list[Tensor] = []
    for rank in range(2):
        trainer: Any = SimpleNamespace(
            train_dataloader=loader(13), current_epoch=0, num_training_batches=2, world_size=2, global_rank=rank
        )
        batches += [labels for _, labels in _training_batches(trainer, seed=0)]
    assert sorted(map(len, batches)) == [4, 4, 5]
