"""Propagation tightness against products of plain matrices and explicit Jacobians."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from gls_lightning.bounds import trace
from gls_lightning.diagnostics import propagation_tightness


def tightness(network: nn.Module, x: Tensor) -> Tensor:
    return propagation_tightness(trace(network, x.shape[1:]), network.state_dict(), x)


def dense(seed: int, *widths: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def test_two_paths_that_cancel_in_part() -> None:
    """Logits 3 relu(x) - relu(x) and relu(-x): widths 2 and 0 of intervals' 4 and 0 at x > 0."""
    network = dense(0, 1, 3, 2)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0], [1.0], [-1.0]]))
        network[2].weight.copy_(torch.tensor([[3.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))
        network[0].bias.zero_()
    x = torch.tensor([[0.5], [-0.5]], dtype=torch.double)
    assert tightness(network, x).tolist() == [[0.5, 1.0], [1.0, 1.0]]


def test_one_hidden_layer_by_its_matrices() -> None:
    network, x = dense(1, 5, 7, 3), torch.rand(4, 5, dtype=torch.double)
    first, second = network[0].weight, network[2].weight
    for image, found in zip(x, tightness(network, x), strict=True):
        pattern = torch.diag((first @ image + network[0].bias > 0).double())
        exact = (second @ pattern @ first).abs().sum(1)
        torch.testing.assert_close(found, exact / (second.abs() @ pattern @ first.abs()).sum(1))


class AbsoluteNetwork(nn.Module):
    """The linearisation of a sequential network at an image, with absolute weights and without its constants."""

    def __init__(self, network: nn.Sequential, x: Tensor) -> None:
        super().__init__()
        self.network, self.x = network, x

    def forward(self, radius: Tensor) -> Tensor:
        value = self.x
        for layer in self.network:
            if isinstance(layer, nn.Conv2d):
                radius = F.conv2d(radius, layer.weight.abs(), stride=layer.stride, padding=layer.padding)
            elif isinstance(layer, nn.Linear):
                radius = F.linear(radius, layer.weight.abs())
            elif isinstance(layer, nn.BatchNorm2d):
                scale = layer.weight.abs() / (layer.running_var + layer.eps).sqrt()
                radius = radius * scale[:, None, None]
            elif isinstance(layer, nn.Flatten):
                radius = layer(radius)
            else:
                radius = radius * torch.autograd.functional.jvp(layer, value, torch.ones_like(value))[1].abs()
            value = layer(value)
        return radius


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh()], ids=repr)
def test_convolutional_network_by_its_jacobian(activation: nn.Module) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), activation,
        nn.Conv2d(3, 2, 3, stride=2), activation, nn.Flatten(), nn.Linear(8, 4),
    ).double().eval()  # fmt: skip
    nn.init.normal_(network[1].weight)
    network[1].running_mean.normal_()
    network[1].running_var.uniform_(0.5, 2)
    x = torch.rand(3, 1, 6, 6, dtype=torch.double)

    found = tightness(network, x)

    for image, row in zip(x.split(1), found, strict=True):
        jacobian = torch.autograd.functional.jacobian(network, image).view(4, -1)
        width = AbsoluteNetwork(network, image)(torch.ones_like(image))[0]
        torch.testing.assert_close(row, jacobian.abs().sum(1) / width)
    assert 0 < found.min() < found.max() < 0.9


@given(st.integers(0, 10_000), st.lists(st.integers(1, 6), min_size=3, max_size=5))
def test_between_0_and_1(seed: int, widths: list[int]) -> None:
    found = tightness(dense(seed, *widths, 2), torch.rand(3, widths[0], dtype=torch.double))
    assert ((found >= 0) & (found <= 1 + 1e-9)).all()


@given(st.integers(0, 10_000))
def test_nothing_is_lost_in_one_layer_nor_without_signs(seed: int) -> None:
    torch.manual_seed(seed)
    one, deep, x = dense(seed, 4, 3), dense(seed, 4, 6, 5, 3), torch.rand(2, 4, dtype=torch.double)
    with torch.no_grad():
        for layer in deep[::2]:
            layer.weight.abs_()
    for network in (one, deep):
        torch.testing.assert_close(tightness(network, x), torch.ones(2, 3, dtype=torch.double))


class Difference(nn.Module):
    """``W x + x``, which is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        nn.init.eye_(self.layer.weight).data.neg_()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x


def test_all_is_lost_where_everything_cancels() -> None:
    assert torch.equal(tightness(Difference(), torch.rand(3, 2)), torch.zeros(3, 2))


def test_a_dead_network_loses_nothing() -> None:
    network = dense(0, 3, 4, 2)
    nn.init.constant_(network[0].bias, -10)
    assert torch.equal(tightness(network, torch.rand(2, 3).double()), torch.ones(2, 2).double())


def test_leaves_the_parameters_alone() -> None:
    network, x = dense(0, 3, 4, 2), torch.rand(2, 3).double()
    tensors = dict(network.named_parameters())
    found = propagation_tightness(trace(network, (3,)), tensors, x)
    assert not found.requires_grad
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in tensors.values())
