"""Training is stopped at a step and resumed from the checkpoint; the weights must be those of the unbroken run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from gls_lightning.data import ImageDataModule, ResumableLoader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(192, 4)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.seen: list[list[int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y, index = batch
        self.seen.append(index.tolist())
        return nn.functional.cross_entropy(self.network(x.flatten(1)), y)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(
    data: ImageDataModule, *callbacks: ModelCheckpoint, resumed_from: Path | None = None, **options: object
) -> Classifier:
    torch.manual_seed(len(callbacks))  # the global generator must not matter
    model = Classifier()
    saves = bool(callbacks)
    trainer = quiet_trainer(max_epochs=3, callbacks=list(callbacks), enable_checkpointing=saves, **options)
    trainer.fit(model, datamodule=data, ckpt_path=resumed_from, weights_only=False)
    return model


@pytest.mark.parametrize(
    ("num_workers", "on_device", "options"),
    [
        (0, False, {}),
        (2, False, {}),
        (0, False, {"limit_train_batches": 3}),
        (0, False, {"val_check_interval": 2}),
        (0, True, {}),
        (0, True, {"limit_train_batches": 3}),
    ],
)
def test_resumes_bitwise_at_every_step(
    random_images: Callable[..., ImageDataModule],
    tmp_path: Path,
    num_workers: int,
    on_device: bool,
    options: dict[str, int],
) -> None:
    def data() -> ImageDataModule:
        return random_images(batch_size=4, num_workers=num_workers, on_device=on_device)

    every_step = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(data(), every_step, **options)
    steps = len(whole.seen)
    assert steps == 3 * options.get("limit_train_batches", 6)
    for step in range(1, steps, 3 if num_workers else 1):
        resumed = fit(data(), resumed_from=tmp_path / f"step={step}.ckpt", **options)
        assert resumed.seen == whole.seen[step:], step
        assert torch.equal(resumed.network.weight, whole.network.weight)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumes_bitwise_after_an_epoch(
    random_images: Callable[..., ImageDataModule], tmp_path: Path, num_workers: int
) -> None:
    each_epoch = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole = fit(random_images(batch_size=4, num_workers=num_workers), each_epoch)
    resumed = fit(random_images(batch_size=4, num_workers=num_workers), resumed_from=tmp_path / "epoch=1.ckpt")
    assert resumed.seen == whole.seen[12:]
    assert torch.equal(resumed.network.weight, whole.network.weight)


def indices(loader: ResumableLoader) -> list[list[int]]:
    return [index.tolist() for _, _, index in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_goes_on_with_the_remaining_batches_once(
    random_images: Callable[..., ImageDataModule], num_workers: int
) -> None:
    data = random_images(batch_size=4, num_workers=num_workers)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(5)
    read = iter(loader)
    first = [next(read)[2].tolist() for _ in range(2)]
    resumed = data.train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    resumed.sampler.set_epoch(5)
    assert len(resumed) == 6
    assert resumed.state_dict() == {"epoch": 5, "batches": 2}
    whole = [*first, *indices(resumed)]
    assert resumed.state_dict() == {"epoch": 5, "batches": 6}
    assert indices(resumed) == whole


def test_another_epoch_starts_at_its_beginning(random_images: Callable[..., ImageDataModule]) -> None:
    loader = random_images(batch_size=4).train_dataloader()
    loader.load_state_dict({"epoch": 0, "batches": 3})
    loader.sampler.set_epoch(1)
    assert len(indices(loader)) == 6
    loader.sampler.set_epoch(0)
    assert len(indices(loader)) == 6
