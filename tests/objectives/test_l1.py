"""L1 by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gls_lightning.bounds import trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import L1, Batch, Regularizer

BATCH = Batch(torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long), torch.tensor(0.1))


def value(scope: str, network: nn.Module, weight: float = 0.5) -> Tensor:
    """As training evaluates it: every tensor under each of its names, those that require gradients as trainable."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    tensors = {**parameters, **dict(network.named_buffers())}
    trainable = [name for name, p in parameters.items() if p.requires_grad]
    return L1(weight=weight, scope=scope)(trace(network, (1, 4, 4)), tensors, BATCH, trainable)


def network() -> nn.Sequential:
    """Every weight 2 in absolute value, every bias -1; 4 weights of the convolution, 9 * 3 of the linear layer."""
    net = nn.Sequential(
        nn.Conv2d(1, 1, 2), nn.BatchNorm2d(1), nn.ReLU(), nn.AvgPool2d(1), nn.Flatten(), nn.Linear(9, 3)
    )
    for name, p in net.named_parameters():
        p.data.fill_(-1.0 if name.endswith("bias") else -2.0)
    return net


def test_by_hand() -> None:
    assert value("weights", network()).item() == 0.5 * 2 * (4 + 27)
    # and the biases of three layers, and BatchNorm's one scale
    assert value("all", network()).item() == 0.5 * (2 * (4 + 27 + 1) + 1 + 1 + 3)


def test_terms_are_added_in_the_order_of_the_parameters() -> None:
    """An order that differs from process to process, as that of a set does, would change the rounding."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), *(nn.Linear(1, 1) for _ in range(8)), nn.Linear(1, 2))
    for p in net.parameters():
        p.data.fill_(0.5)
    net[1].weight.data.fill_(2.0**20)
    assert value("weights", net, weight=1.0).item() == 2.0**24


def test_frozen_parameters_do_not_count() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    net[5].bias.requires_grad_(False)
    assert value("weights", net).item() == 0.5 * 2 * 27
    assert value("all", net).item() == 0.5 * (2 * (27 + 1) + 1 + 1)
    assert value("weights", net.requires_grad_(False)).item() == 0


class Shared(nn.Module):
    """One layer in two places, under two names, and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.output, self.tied = nn.Linear(16, 16), nn.Linear(16, 3), nn.Linear(16, 16)
        self.alias = self.first
        self.tied.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.alias(F.relu(self.first(x.flatten(1))))
        return self.output(self.tied(x))


def test_shared_parameters_count_once() -> None:
    net = Shared()
    weights = net.first.weight.abs().sum() + net.output.weight.abs().sum()
    biases = sum(layer.bias.abs().sum() for layer in (net.first, net.tied, net.output))
    torch.testing.assert_close(value("weights", net, weight=1.0), weights)
    torch.testing.assert_close(value("all", net, weight=1.0), weights + biases)


def test_gradient_is_the_sign() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    value("weights", net).backward()
    torch.testing.assert_close(net[1].weight.grad, 0.5 * net[1].weight.detach().sign())
    assert net[1].bias.grad is None


def test_under_vmap_each_member_has_its_own() -> None:
    net, stack = network(), torch.arange(3.0)
    graph, tensors = trace(net, (1, 4, 4)), dict(net.state_dict())

    def term(scale: Tensor) -> Tensor:
        return L1(weight=1.0)(graph, {n: scale * t for n, t in tensors.items()}, BATCH, ["0.weight", "5.weight"])

    assert torch.func.vmap(term)(stack).tolist() == [0.0, 62.0, 124.0]


def test_is_the_same_for_every_batch_and_radius() -> None:
    assert (L1.name, L1.uses_batch_statistics, L1.fades_with_epsilon) == ("l1", False, False)
    assert issubclass(L1, Regularizer)


@pytest.mark.parametrize("weight", [-1e-6, float("nan"), float("inf")])
def test_weights_out_of_range(weight: float) -> None:
    with pytest.raises(ConfigurationError, match=f"weight of L1 is {weight}; it must be a finite number"):
        L1(weight=weight)


def test_unknown_scope() -> None:
    with pytest.raises(ConfigurationError, match="scope of L1 is 'biases'; it must be one of weights, all"):
        L1(weight=1.0, scope="biases")
