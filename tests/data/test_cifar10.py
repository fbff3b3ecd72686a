import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from gls_lightning.data import CIFAR10
from gls_lightning.errors import ConfigurationError


@pytest.mark.usefixtures("no_network")
def test_missing_without_network_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"data\.root: '{tmp_path}' .* CIFAR10"):
        CIFAR10(root=str(tmp_path)).prepare_data()
    with pytest.raises(ConfigurationError, match="CIFAR10"):
        CIFAR10(root=str(tmp_path)).setup("fit")


@pytest.mark.usefixtures("no_network")
def test_a_broken_extraction_is_not_taken_for_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"half a file")
    with pytest.raises(ConfigurationError, match="CIFAR10"):
        CIFAR10(root=str(tmp_path)).prepare_data()


class Executed:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("train", [True, False])
def test_no_pickle_is_loaded_but_the_originals(tmp_path: Path, train: bool) -> None:
    folder, executed = tmp_path / "cifar-10-batches-py", tmp_path / "executed"
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch", "batches.meta"]
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Executed(executed)))
    data = CIFAR10(root=str(tmp_path))
    with pytest.raises(ConfigurationError, match="CIFAR10"):
        data.prepare_data()
    with pytest.raises(ConfigurationError, match=r"data_batch_1 is damaged or another file: its MD5 is not c99cafc15"):
        data.load(train)
    (folder / "data_batch_1").unlink()
    with pytest.raises(ConfigurationError, match=rf"^data\.root: there is no {folder}/data_batch_1"):
        data.load(train)
    assert not executed.exists()


def test_augmentation_can_be_switched_off() -> None:
    augmentation = CIFAR10(seed=4).augmentation(10)
    assert augmentation is not None
    assert (augmentation.padding, augmentation.seed) == (2, 4)
    assert CIFAR10(augment=False).augmentation(10) is None


@pytest.mark.slow
def test_equals_torchvision(shared: Path, tmp_path: Path) -> None:
    restored = tmp_path / "cifar-10-batches-py"
    subprocess.run([sys.executable, shared / "data" / "restore_cifar10.py", restored], check=True)
    data = CIFAR10(root=str(tmp_path), augment=False)
    data.prepare_data()
    stored = torchvision.datasets.CIFAR10(tmp_path, train=False)
    x, y, index = next(iter(data.test_dataloader()))
    for image, label, i in zip(x, y, index, strict=True):
        expected, target = stored[i]
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(expected))
        assert label == target
    x, _, _ = next(iter(data.train_dataloader()))
    assert x.shape == (256, 3, 32, 32)
    sample = torch.cat([x for x, _, _ in data.train_dataloader()])
    assert torch.allclose(sample.mean((0, 2, 3)), torch.tensor(data.mean), atol=1e-3)
