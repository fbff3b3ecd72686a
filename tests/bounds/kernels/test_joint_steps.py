"""Steps through an activation and a convolution at once, as on CUDA, against one after the other."""

import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import Box, trace
from gls_lightning.bounds.kernels import WHOLE
from gls_lightning.bounds.operations import convolution
from gls_lightning.relaxations import DeepPoly

SHAPE = torch.Size((2, 9, 8))


class Residual(nn.Module):
    """A network one of whose convolutions is seen by an activation and by a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1)
        self.linear = nn.Linear(216, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return self.linear((first + self.second(first.relu())).relu().flatten(1))


NETWORKS = {
    "plain": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 3, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(3, 3, 2, 1, 0),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 5),
        nn.ReLU(),
        nn.Linear(5, 4),
    ),
    "dilated": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2, 2, 1),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(4),
    ),
    "grouped": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, groups=2), nn.ReLU(), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    ),
    "residual": Residual,
}


def loss(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The sum of DeepPoly's bounds, and its gradient."""
    graph, tensors = trace(network, SHAPE), dict(network.named_parameters())
    specification = torch.eye(4, dtype=x.dtype).expand(len(x), -1, -1)
    bounds = DeepPoly()(graph, tensors, Box.around(x, 0.1), specification)
    return bounds, list(torch.autograd.grad(bounds.sin().sum(), list(tensors.values())))


@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_and_gradients_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x = NETWORKS[name](), torch.rand(2, *SHAPE)
    network(x)
    network, x = network.double(), x.double()
    expected = loss(network, x)
    steps = []
    product = convolution.relaxed_product
    monkeypatch.setattr(convolution, "relaxed_product", lambda *given: steps.append(given) or product(*given))
    monkeypatch.setattr(convolution, "is_joined", lambda *given, **options: True)
    torch.testing.assert_close(loss(network, x), expected)
    of_windows = {band == WHOLE for *_, band in steps}
    assert of_windows == {"plain": {True, False}, "dilated": {False}}.get(name, set())


def test_nothing_is_joined_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "relaxed_product", None)
    torch.manual_seed(0)
    loss(NETWORKS["plain"](), torch.rand(2, *SHAPE))
