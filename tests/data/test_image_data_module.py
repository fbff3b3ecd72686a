import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from gls_lightning.data import CIFAR10, Digits, ImageDataModule
from gls_lightning.errors import ConfigurationError

Module = Callable[..., ImageDataModule]


def read(loader: torch.utils.data.DataLoader) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


def test_batches(random_images: Module) -> None:
    data = random_images(batch_size=8)
    x, y, index = next(iter(data.train_dataloader()))
    assert (x.shape, x.dtype) == ((8, 3, 8, 8), torch.float32)
    assert (y.shape, y.dtype) == ((8,), torch.int64)
    assert (index.shape, index.dtype) == ((8,), torch.int64)
    assert torch.equal(y, data.load(train=True)[1][index])


def test_evaluation_is_in_order_and_keeps_the_last_batch(random_images: Module) -> None:
    data = random_images(eval_batch_size=4)
    x, _, index = read(data.val_dataloader())
    assert index.tolist() == list(range(9))
    assert torch.equal(x, data.load(train=False)[0] / 255)
    assert len(data.test_dataloader()) == 3


def test_validation_split(random_images: Module) -> None:
    data = random_images(validation_size=6, train_size=20)
    x, _, validation = read(data.val_dataloader())
    _, _, training = read(data.train_dataloader())
    assert len(validation) == 6
    assert sorted([*validation.tolist(), *training.tolist()]) == list(range(20))
    assert torch.equal(x, data.load(train=True)[0][validation] / 255)  # not augmented
    assert torch.equal(random_images(validation_size=6, train_size=20).validation_set.indices, validation)
    assert not torch.equal(random_images(validation_size=6, train_size=20, seed=1).validation_set.indices, validation)


def test_sizes_take_the_first_images(random_images: Module) -> None:
    data = random_images(train_size=5, test_size=3)
    assert read(data.train_dataloader())[2].sort().values.tolist() == list(range(5))
    assert read(data.test_dataloader())[2].tolist() == list(range(3))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_change_nothing_and_leave_the_global_generator_alone(random_images: Module, num_workers: int) -> None:
    reference = random_images(batch_size=4).train_dataloader()
    before = torch.get_rng_state()
    loader = random_images(batch_size=4, num_workers=num_workers).train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        reference.sampler.set_epoch(epoch)
        assert all(map(torch.equal, read(loader), read(reference)))
    assert torch.equal(torch.get_rng_state(), before)


def test_epochs_differ_in_order_and_augmentation(random_images: Module) -> None:
    loader = random_images(batch_size=4).train_dataloader()
    x0, _, index0 = read(loader)
    loader.sampler.set_epoch(1)
    x1, _, index1 = read(loader)
    assert not torch.equal(index0, index1)
    assert not torch.equal(x0[index0.argsort()], x1[index1.argsort()])


def test_an_image_is_augmented_alike_in_every_batch_and_subset(random_images: Module) -> None:
    x, _, index = read(random_images(batch_size=4).train_dataloader())
    y, _, indices = read(random_images(batch_size=7, validation_size=5).train_dataloader())
    assert all(torch.equal(image, x[index == i][0]) for image, i in zip(y, indices, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"eval_batch_size": 0},
        {"num_workers": -1},
        {"validation_size": -1},
        {"train_size": 0},
        {"test_size": -2},
        {"seed": -1},
        {"train_size": 23},
        {"test_size": 10},
        {"validation_size": 22},
        {"validation_size": 9, "train_size": 9},
    ],
)
def test_bad_sizes_are_found_before_training(random_images: Module, options: dict[str, int]) -> None:
    key, value = next(iter(options.items()))
    with pytest.raises(ConfigurationError, match=rf"data\.{key} is {value}; it must be at "):
        random_images(**options).setup("fit")


def test_pickles_before_and_after_reading() -> None:
    data = Digits(seed=3)
    data.setup()
    for module in (Digits(seed=3), data):
        copy = pickle.loads(pickle.dumps(module))
        assert all(map(torch.equal, read(copy.train_dataloader()), read(data.train_dataloader())))


def test_attributes_before_setup() -> None:
    assert (CIFAR10.input_shape, CIFAR10.num_classes) == ((3, 32, 32), 10)
    assert len(CIFAR10.mean) == len(CIFAR10.std) == 3


class Recorder(LightningModule):
    """Writes down what each process reads; its buffer makes DDP communicate in every forward pass."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 4))
        self.mean_index = MeanMetric()
        self.read: dict[str, list[Tensor]] = {"fit": [], "validate": []}

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        self.read["fit"].append(batch[2])
        return self.network(batch[0]).sum()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        self.read["validate"].append(batch[2])
        self.network(batch[0])
        self.mean_index.update(batch[2])
        self.log("mean_index", self.mean_index)

    def on_train_end(self) -> None:
        assert self.trainer.callback_metrics["mean_index"] == 4  # of 0, ..., 8
        torch.save(self.read, self.folder / f"{self.global_rank}.pt")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(data: ImageDataModule, folder: Path, devices: int, **options: object) -> list[dict[str, list[Tensor]]]:
    trainer = quiet_trainer(
        devices=devices,
        max_epochs=1,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(Recorder(folder), datamodule=data)
    return [torch.load(folder / f"{rank}.pt") for rank in range(devices)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("shared_training", "on_device"), [(True, False), (False, False), (True, True)])
def test_two_processes_share_batches(
    random_images: Module, tmp_path: Path, shared_training: bool, on_device: bool
) -> None:
    torch.set_num_threads(1)
    data = random_images(
        batch_size=4, eval_batch_size=4, on_device=on_device
    )  # shares of 5 and 4 test images: 2 batches and 1
    parts = fit(data, tmp_path, 2, strategy="ddp_fork", use_distributed_sampler=shared_training)
    alone = random_images(batch_size=8 if shared_training else 4)
    expected = [index for _, _, index in alone.train_dataloader()]
    for left, right, whole in zip(parts[0]["fit"], parts[1]["fit"], expected, strict=True):
        both = torch.stack([left, right], 1).flatten() if shared_training else left
        assert torch.equal(both, whole)
        assert shared_training or torch.equal(left, right)
    assert torch.cat([*parts[0]["validate"], *parts[1]["validate"]]).sort().values.tolist() == list(range(9))
    assert len(parts[0]["validate"]) == len(parts[1]["validate"])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("on_device", [False, True])
def test_lightning_can_overfit_a_few_batches(random_images: Module, tmp_path: Path, on_device: bool) -> None:
    (read,) = fit(random_images(batch_size=4, eval_batch_size=9, on_device=on_device), tmp_path, 1, overfit_batches=2)
    assert [index.tolist() for index in read["fit"]] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_too_few_images_for_the_processes(random_images: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_images(train_size=1, test_size=2, eval_batch_size=1)
    monkeypatch.setattr(ImageDataModule, "_process", lambda self: (1, 3))
    monkeypatch.setattr(ImageDataModule, "_shares_training", True)
    with pytest.raises(ConfigurationError, match="1 training images are too few for 3 processes"):
        data.train_dataloader()
    with pytest.raises(ConfigurationError, match=r"data\.eval_batch_size"):
        data.test_dataloader()
