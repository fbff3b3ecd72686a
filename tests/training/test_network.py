"""Indices of a batch: what is drawn by them on the CPU must not wait for a GPU."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gls_lightning import CertifiedTrainingModule

META = torch.device("meta")


@pytest.fixture
def module() -> CertifiedTrainingModule:
    return CertifiedTrainingModule(network=nn.Linear(2, 2), epsilon=0.1)


def batch(*indices: Tensor) -> list[Tensor]:
    return [torch.rand(2, 2), torch.tensor([0, 1]), *indices]


def test_draws_take_indices_from_the_cpu_where_they_are_there(module: CertifiedTrainingModule) -> None:
    on_cpu, read = torch.tensor([5, -3], dtype=torch.int32), torch.zeros(2, dtype=torch.long, device=META)
    assert module.drawing_indices(batch(on_cpu), 4, read).tolist() == [5, 0]
    assert module.drawing_indices(batch(), 4, read).tolist() == [4 << 32, (4 << 32) + 1]
    assert module.drawing_indices(batch(read), 4, read) is read
    on_cpu = on_cpu.long()
    assert module.drawing_indices(batch(on_cpu), 4, on_cpu) is on_cpu


def test_indices_on_the_cpu_pass_the_check_of_a_gpus_batch(module: CertifiedTrainingModule) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    module.trace((2,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = [torch.rand(2, 2, device="cuda"), torch.zeros(2, dtype=torch.long, device="cuda"), torch.tensor([5, 3])]
        images, labels, indices = module.read(given, 0, "train", deferrable=True)
    assert images.device == labels.device == indices.device
