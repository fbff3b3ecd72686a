"""A training loss on a GPU that does not exist: nothing may be copied to it from the CPU, and nothing read from it.

PyTorch's fake tensors have devices and shapes, but no values. Attacks, which need backward passes, are left out here;
that they read no values is shown on the CPU by the recordings of captured losses.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from common.networks import ResidualNetwork
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gls_lightning.attacks import Attack
from gls_lightning.batches import DeferredValues, LabelledImages
from gls_lightning.bounds import _constants, fixed_sizes, trace
from gls_lightning.networks import CNN3
from gls_lightning.objectives import (
    L1,
    MTLIBP,
    SABR,
    Adversarial,
    Batch,
    Certified,
    Objective,
    ShiRegularizer,
    Standard,
)
from gls_lightning.private_names import of_torch
from gls_lightning.recorder import CannotRecordError, NothingWaits
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, HBox, Relaxation
from gls_lightning.training import TrainingLoss


class Centre(Attack):
    """An attack without gradients."""

    def __call__(self, logits: Any, lower: Tensor, upper: Tensor, labels: Tensor, starts: Tensor) -> Tensor:
        return (lower + upper) / 2


class NothingOnTheCPU(of_torch.DispatchMode):
    """Refuses operations on tensors in the CPU's memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in of_torch.tree_flatten((args, result))[0]:
            assert not (isinstance(leaf, Tensor) and leaf.device.type == "cpu"), f"{func} uses the CPU's memory"
        return result


@pytest.fixture
def fake_gpu() -> Iterator[FakeTensorMode]:
    _constants._made.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode
    _constants._made.cache_clear()  # its tensors have no values


NETWORKS: dict[str, tuple[nn.Module, tuple[int, int, int]]] = {
    "CNN3": (CNN3(input_shape=(1, 28, 28), num_classes=10), (1, 28, 28)),
    "residual, BatchNorm, constants": (ResidualNetwork(), (2, 6, 6)),
}
OBJECTIVES: list[Objective] = [
    Standard(),
    Certified(),
    Certified(loss_fusion=True),
    Adversarial(attack=Centre()),
    SABR(attack=Centre()),
    MTLIBP(alpha=0.5, attack=Centre()),
]


COMBINATIONS = [
    *((DeepPoly(), objective) for objective in OBJECTIVES),
    *((relaxation, Certified()) for relaxation in (IBP(), CROWNIBP(), HBox(), DeepPoly(skip_ibp_stable="auto"))),
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("relaxation", "objective"), COMBINATIONS, ids=lambda part: type(part).__name__)
def test_a_loss_on_a_gpu_needs_nothing_of_the_cpu(
    network: str, objective: Objective, relaxation: Relaxation, fake_gpu: FakeTensorMode
) -> None:
    with fake_gpu, fixed_sizes({}):  # as in a captured step, which bounds only some neurons
        loss = loss_on_gpu(*NETWORKS[network], objective, relaxation)
        loss(loss.params)  # the first evaluation may copy constants
        with NothingWaits(), NothingOnTheCPU():
            value, metrics = loss(loss.params)
    assert {tensor.device.type for tensor in (value, *metrics.values())} == {"cuda"}


def loss_on_gpu(
    network: nn.Module, shape: tuple[int, int, int], objective: Objective, relaxation: Relaxation
) -> TrainingLoss:
    with torch.utils._python_dispatch._disable_current_modes():
        graph = trace(network, shape)
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    tensors = {name: torch.empty(t.shape, dtype=t.dtype, device="cuda") for name, t in state.items()}
    images, labels = torch.empty(4, *shape, device="cuda"), torch.empty(4, dtype=torch.long, device="cuda")
    batch = Batch(images, labels, torch.empty((), device="cuda"), (torch.empty(1, 4, *shape, device="cuda"),), 0.5)
    names = {name: name for name, _ in network.named_parameters()}
    return TrainingLoss(graph, relaxation, objective, tensors, names, batch, [L1(weight=0.1), ShiRegularizer()])


def test_the_check_of_a_batch_does_not_wait(fake_gpu: FakeTensorMode) -> None:
    with fake_gpu:
        images, labels = torch.empty(4, 1, 3, 3, device="cuda"), torch.empty(4, dtype=torch.long, device="cuda")
        noted = DeferredValues()
        with NothingWaits(), NothingOnTheCPU():
            for number in range(3):
                noted.note(LabelledImages(images, labels, labels), f"train batch {number}", num_classes=10)


class FromTheCPU(Certified):
    def _robust_loss(self, *args: Any) -> Any:
        loss, metrics = super()._robust_loss(*args)
        return loss * torch.ones(()).to(loss.device), metrics


class Read(Certified):
    def _robust_loss(self, *args: Any) -> Any:
        loss, metrics = super()._robust_loss(*args)
        return loss[metrics["certified_accuracy"] > 0], metrics


@pytest.mark.parametrize(("objective", "message"), [(FromTheCPU(), "copied"), (Read(), "nonzero|_local_scalar")])
def test_the_test_finds_what_it_should(objective: Objective, message: str, fake_gpu: FakeTensorMode) -> None:
    with fake_gpu:
        loss = loss_on_gpu(*NETWORKS["CNN3"], objective, IBP())
        with pytest.raises(CannotRecordError, match=message), NothingWaits():
            loss(loss.params)


@pytest.mark.parametrize("mask", [torch.tensor([True, False, True]), torch.tensor([1, 0, 1], dtype=torch.uint8)])
def test_a_mask_as_an_index_waits_and_numbers_do_not(mask: Tensor) -> None:
    values = torch.rand(3, 3)
    with NothingWaits():
        values[:, torch.tensor([0, 2])]
    with pytest.raises(CannotRecordError, match="index reads values of tensors"), NothingWaits():
        values[:, mask]
