import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import Box, OpaqueGraph, UnsupportedOperationError, margin_specification, trace
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

SHAPE = (1, 4, 4)


class Tied(nn.Module):
    """Uses one matrix twice, and an operation that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.sin(self.first(x.flatten(1)))) * self.scale


def opaque(network: nn.Module) -> OpaqueGraph:
    with pytest.raises(UnsupportedOperationError) as error:
        trace(network, SHAPE)
    return OpaqueGraph(network, SHAPE, error.value)


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict(keep_vars=True))


def test_is_evaluated_with_the_tensors_that_it_is_given() -> None:
    network, x = Tied(), torch.rand(3, *SHAPE)
    graph, tensors = opaque(network), tensors_of(network)
    torch.testing.assert_close(graph(tensors, x), network(x))
    torch.testing.assert_close(graph({**tensors, "scale": torch.tensor(-1.0)}, x), network(x) / -2)
    torch.testing.assert_close(torch.autograd.grad(graph(tensors, x).sum(), network.first.weight)[0].shape, (16, 16))
    assert graph.num_outputs == 16
    assert graph.input_shape == SHAPE
    assert graph.batch_statistics(tensors, x) == {}


def test_a_module_with_the_tensors_that_it_is_given() -> None:
    network = Tied()
    weight = nn.Parameter(torch.eye(16))
    module = opaque(network).module({**tensors_of(network), "first.weight": weight, "second.weight": weight})
    assert module.first.weight is weight
    assert module.second.weight is weight
    assert network.first.weight is not weight
    assert not module.training


@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
def test_what_needs_the_operations_says_which_one_is_unknown(relaxation) -> None:
    network = Tied()
    box, spec = Box.around(torch.rand(2, *SHAPE), 0.1), margin_specification(torch.tensor([0, 1]), 16)
    with pytest.raises(UnsupportedOperationError, match=r"operation sin at 'sin' .* AutoLiRPA, can bound it"):
        relaxation(opaque(network), tensors_of(network), box, spec)


def test_dropout_is_seen_and_batch_norm_is_refused_in_training() -> None:
    layers = nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Softplus(), nn.Dropout(0.3), nn.Linear(4, 3)
    network = nn.Sequential(*layers)
    graph = OpaqueGraph(network, SHAPE, UnsupportedOperationError("Softplus is unknown"))
    assert graph.dropout == 0.3
    assert graph.has_batch_norm
    with pytest.raises(UnsupportedOperationError, match="BatchNorm must be traced to be trained: Softplus is unknown"):
        graph.batch_statistics(tensors_of(network), torch.rand(3, *SHAPE))


def test_what_gives_no_logits_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="must return one tensor of logits"):
        OpaqueGraph(nn.Identity(), SHAPE, UnsupportedOperationError("unknown"))
