"""DeepPoly for the ReLUs alone that intervals leave unstable."""

import pytest
import torch
from common.networks import ResidualNetwork
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, Graph, Node, margin_specification, trace
from gls_lightning.relaxations import IBP, DeepPoly


class OneByOne(DeepPoly):
    """Bounds every ReLU input, each as if it were one of few."""

    @override
    def _bounds(self, substitution: BackSubstitution, node: Node, intervals: dict[str, Box]) -> Box:
        (source,) = node.inputs
        if source in substitution.boxes or not substitution.lines:
            return substitution.bounds(source)
        everything = torch.ones_like(intervals[source].lower, dtype=torch.bool)
        return substitution.bounds_where(everything, source, intervals[source])


@pytest.fixture
def problem() -> tuple[Graph, dict[str, Tensor], Box, Tensor]:
    torch.manual_seed(0)
    network = ResidualNetwork().double().eval()
    tensors = {name: tensor for name, tensor in network.state_dict(keep_vars=True).items()}
    spec = margin_specification(torch.tensor([0, 1, 2]), 4, torch.float64)
    return trace(network, (2, 6, 6)), tensors, Box.around(torch.rand(3, 2, 6, 6).double(), 0.05), spec


@pytest.mark.parametrize("chunk_bytes", [2**24, 2**8])
def test_rows_chosen_one_by_one_are_the_same(
    problem: tuple[Graph, dict[str, Tensor], Box, Tensor], chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = DeepPoly()(*problem)
    monkeypatch.setattr("gls_lightning.relaxations.memory._CACHED_CHUNK_BYTES", chunk_bytes)
    ours = OneByOne(skip_ibp_stable=True)(*problem)
    torch.testing.assert_close(ours, expected)
    params = [tensor for tensor in problem[1].values() if tensor.requires_grad]
    gradients = (torch.autograd.grad(bounds.exp().sum(), params) for bounds in (ours, expected))
    torch.testing.assert_close(*gradients)


def test_stable_relus_keep_the_bounds_of_ibp(problem: tuple[Graph, dict[str, Tensor], Box, Tensor]) -> None:
    graph, tensors, box, _ = problem
    ours = DeepPoly(skip_ibp_stable=True).preactivation_bounds(graph, tensors, box)
    by_intervals, in_full = (
        IBP().preactivation_bounds(graph, tensors, box),
        DeepPoly().preactivation_bounds(graph, tensors, box),
    )
    second, *_ = list(ours)[1:]
    unstable = (by_intervals[second].lower < 0) & (by_intervals[second].upper > 0)
    assert 0 < unstable.sum() < unstable.numel()
    for side in (0, 1):
        expected = torch.where(unstable, in_full[second][side], by_intervals[second][side])
        torch.testing.assert_close(ours[second][side], expected)


def test_it_is_not_for_vmap() -> None:
    assert DeepPoly().vectorisable
    assert not DeepPoly(skip_ibp_stable=True).vectorisable
