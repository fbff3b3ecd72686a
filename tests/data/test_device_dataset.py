"""Data sets that live on the device of the training: the CPU stands in for a GPU."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from common.trainers import quiet_trainer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning import CertifiedTrainingModule
from gls_lightning.data import Augmentation, DeviceDataset, ImageDataModule, ImageDataset
from gls_lightning.data.tiny_imagenet import JPEGFiles
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import IBP

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

Module = Callable[..., ImageDataModule]


def trained_on(device: torch.device) -> SimpleNamespace:
    """A trainer, as far as a data module looks at it."""
    trainer = quiet_trainer()
    return SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        global_rank=0,
        world_size=1,
        lightning_module=nn.ReLU(),
        _accelerator_connector=trainer._accelerator_connector,
    )


def read(loader: torch.utils.data.DataLoader, epoch: int = 0) -> list[tuple[Tensor, ...]]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("options", [{}, {"validation_size": 5}, {"drop_last": True}])
def test_batches_are_the_same_to_the_bit(random_images: Module, options: dict[str, int]) -> None:
    here, there = (random_images(batch_size=4, on_device=value, **options) for value in (False, True))
    for loaders in ((m.train_dataloader() for m in (here, there)), (m.val_dataloader() for m in (here, there))):
        plain, moved = loaders
        assert isinstance(moved.dataset, DeviceDataset)
        assert not isinstance(plain.dataset, DeviceDataset)
        assert (moved.num_workers, moved.pin_memory, moved.batch_size) == (0, False, 4)
        assert len(moved.dataset) == len(plain.dataset)
        for epoch in (0, 3, 0):
            for batch, expected in zip(read(moved, epoch), read(plain, epoch), strict=True):
                assert all(map(torch.equal, batch, expected))
                assert [part.dtype for part in batch] == [torch.float32, torch.int64, torch.int64]


@pytest.mark.parametrize("white", [1, 16, 255])
def test_every_byte_becomes_the_same_number(white: int) -> None:
    images = torch.arange(white + 1, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    dataset = ImageDataset(images, torch.zeros(white + 1, dtype=torch.int64), white=white)
    keys = list(range(white + 1))
    assert torch.equal(DeviceDataset(dataset, CPU).__getitems__(keys)[0], dataset.__getitems__(keys)[0])


class Operators(TorchDispatchMode):
    """Notes all operators, and those that copy between devices by that name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        copy = function is torch.ops.aten._to_copy.default and kwargs.get("device", args[0].device) != args[0].device
        self.seen.append("copy" if copy else str(function))
        return function(*args, **(kwargs or {}))


def test_a_batch_reads_nothing_from_the_device_and_sends_positions_alone(random_images: Module) -> None:
    """With tensors of a GPU that has no memory: moving them to or from it is an operator of its own."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which tests without this mode show more about")
    host = random_images(batch_size=4).train_set
    with FakeTensorMode(allow_non_fake_inputs=True):
        dataset = DeviceDataset(host, GPU)
        dataset.__getitems__([1, 5, 2])  # draws the epoch
        with Operators() as operators:
            images, labels, indices = dataset.__getitems__([3, 7, 1])
    assert (images.device, labels.device, indices.device) == (GPU, GPU, CPU)
    assert (images.shape, images.dtype) == ((3, 3, 8, 8), torch.float32)
    assert operators.seen.count("copy") == 1
    assert not {"aten._local_scalar_dense.default", "aten.nonzero.default"} & set(operators.seen)


class OnCPU(Augmentation):
    """Does nothing, and does not say that it works on a GPU."""

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        return images


@pytest.fixture
def moves_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Says whether a data module would put its training images on a GPU of some memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def moves(data: ImageDataModule, memory: int = 2**30, device: torch.device = GPU) -> bool:
        properties = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        data.trainer = trained_on(device)
        made: list[torch.device] = []
        monkeypatch.setattr(
            "gls_lightning.data.image_data_module.DeviceDataset",
            lambda dataset, device: made.append(device) or DeviceDataset(dataset, CPU),
        )
        loader = data.train_dataloader()
        assert made in ([], [device])
        assert loader.pin_memory == (device.type == "cuda" and not made)
        return bool(made)

    return moves


def test_auto_is_a_rule_of_device_and_sizes(random_images: Module, moves_to: Callable[..., bool]) -> None:
    size = 22 * 3 * 8 * 8
    assert moves_to(random_images())
    assert moves_to(random_images(), memory=32 * size)
    assert not moves_to(random_images(), memory=32 * size - 1)
    assert not moves_to(random_images(), device=CPU)
    assert not moves_to(random_images(on_device=False))
    assert moves_to(random_images(on_device=True), memory=1)
    assert not moves_to(random_images(num_workers=2))


def test_auto_leaves_data_on_the_cpu_that_are_changed_there(
    random_images: Module, moves_to: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_images, "augmentation", lambda self, num_images: OnCPU())
    assert not moves_to(random_images())
    assert moves_to(random_images(on_device=True))
    monkeypatch.setattr(random_images, "augmentation", lambda self, num_images: None)
    assert moves_to(random_images())
    monkeypatch.setattr(random_images, "on_before_batch_transfer", lambda self, batch, idx: batch)
    assert not moves_to(random_images())


class Files(ImageDataModule):
    """Images that are read when they are needed."""

    input_shape = (3, 8, 8)
    num_classes = 4

    def load(self, train: bool) -> tuple[JPEGFiles, Tensor]:
        return JPEGFiles([Path(f"{number}.jpg") for number in range(9)], (8, 8)), torch.zeros(9, dtype=torch.long)


def test_images_in_files_stay_there(moves_to: Callable[..., bool]) -> None:
    assert not moves_to(Files())
    with pytest.raises(ConfigurationError, match=r"data\.on_device is True; it must be auto or false for Files, whose"):
        moves_to(Files(on_device=True))
    with pytest.raises(TypeError, match="JPEGFiles"):
        DeviceDataset(ImageDataset(*Files().load(True)), CPU)


def test_the_test_images_stay_on_the_cpu(random_images: Module) -> None:
    assert not isinstance(random_images(on_device=True).test_dataloader().dataset, DeviceDataset)


@pytest.mark.parametrize("value", ["yes", "cuda", 1.5, None, 2])
def test_other_words_are_refused(random_images: Module, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"on_device is {value!r}; it must be auto, true or false"):
        random_images(on_device=value)


def test_workers_and_the_device_exclude_each_other(random_images: Module) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.on_device is True; it must be auto or false, or data\.num_w"):
        random_images(on_device=True, num_workers=1)


def test_training_with_batch_norm_is_the_same_to_the_bit(random_images: Module) -> None:
    """BatchNormReset reads the data set of the loader by itself."""

    def weights(on_device: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        module = CertifiedTrainingModule(network=network, epsilon=0.01, relaxation=IBP())
        quiet_trainer(max_epochs=2).fit(module, datamodule=random_images(batch_size=4, on_device=on_device))
        return module.state_dict()

    here, there = weights(False), weights(True)
    assert all(torch.equal(value, there[name]) for name, value in here.items())


def test_indices_stay_on_the_cpu_on_the_way_to_a_device(random_images: Module) -> None:
    data = random_images(batch_size=4)
    batch = next(iter(data.train_dataloader()))
    images, labels, indices = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert images.device == labels.device == torch.device("meta")
    assert torch.equal(indices, batch[2])
    pair = data.transfer_batch_to_device(batch[:2], torch.device("meta"), 0)
    assert [part.device.type for part in pair] == ["meta", "meta"]
