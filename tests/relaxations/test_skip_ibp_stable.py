"""DeepPoly for the ReLUs alone that intervals leave unstable."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from common.networks import ResidualNetwork
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from gls_lightning.bounds import (
    BackSubstitution,
    Box,
    Graph,
    Node,
    current_buckets,
    fixed_sizes,
    margin_specification,
    trace,
)
from gls_lightning.relaxations import IBP, DeepPoly, deep_poly

Problem = tuple[Graph, dict[str, Tensor], Box, Tensor]


class OneByOne(DeepPoly):
    """Bounds every ReLU input, each as if it were one of few."""

    @override
    def _bounds(self, substitution: BackSubstitution, node: Node, intervals: Mapping[str, Box]) -> Box:
        (source,) = node.inputs
        if source in substitution.boxes or not substitution.lines:
            return substitution.bounds(source)
        everything = torch.ones_like(intervals[source].lower, dtype=torch.bool)
        return substitution.bounds_where(everything, source, intervals[source])


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    network = ResidualNetwork().double().eval()
    tensors = {name: tensor for name, tensor in network.state_dict(keep_vars=True).items()}
    spec = margin_specification(torch.tensor([0, 1, 2]), 4, torch.float64)
    return trace(network, (2, 6, 6)), tensors, Box.around(torch.rand(3, 2, 6, 6).double(), 0.05), spec


@pytest.mark.parametrize("chunk_bytes", [2**24, 2**8])
def test_rows_chosen_one_by_one_are_the_same(
    problem: Problem, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = DeepPoly()(*problem)
    monkeypatch.setattr("gls_lightning.relaxations.memory._CACHED_CHUNK_BYTES", chunk_bytes)
    ours = OneByOne(skip_ibp_stable=True)(*problem)
    torch.testing.assert_close(ours, expected)
    params = [tensor for tensor in problem[1].values() if tensor.requires_grad]
    gradients = (torch.autograd.grad(bounds.exp().sum(), params) for bounds in (ours, expected))
    torch.testing.assert_close(*gradients)


def test_stable_relus_keep_the_bounds_of_ibp(problem: Problem) -> None:
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


def test_true_is_not_for_vmap() -> None:
    assert DeepPoly().vectorisable
    assert DeepPoly(skip_ibp_stable="auto").vectorisable
    assert not DeepPoly(skip_ibp_stable=True).vectorisable


class Seen(TorchDispatchMode):
    """Counts the operations by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def bounds_and_gradients(relaxation: DeepPoly, problem: Problem) -> tuple[Tensor, tuple[Tensor, ...]]:
    params = [tensor for tensor in problem[1].values() if tensor.requires_grad]
    bounds = relaxation(*problem)
    return bounds, torch.autograd.grad(bounds.exp().sum(), params)


@pytest.mark.parametrize("largest_share", [0.0, 1.0], ids=["all and a choice", "unstable alone"])
def test_auto_is_the_same_relaxation_in_either_form(
    problem: Problem, largest_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bounds_and_gradients(DeepPoly(skip_ibp_stable=True), problem)
    monkeypatch.setattr(deep_poly, "_LARGEST_SHARE", largest_share)
    with Seen() as seen:
        found = bounds_and_gradients(DeepPoly(skip_ibp_stable="auto"), problem)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert bool(seen.names["scatter"]) == (largest_share == 1)


def test_fixed_sizes_that_suffice_change_nothing_and_read_nothing(problem: Problem) -> None:
    relaxation = DeepPoly(skip_ibp_stable=True)
    expected = bounds_and_gradients(relaxation, problem)
    for budget in (4.0, 1e-6):
        relaxation.memory_budget = budget
        with Seen() as seen:
            with fixed_sizes({}) as all_of_them:
                found = bounds_and_gradients(relaxation, problem)
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
            sizes = {name: int(number) + 2 for name, number in all_of_them.wanted.items()}
            with fixed_sizes(sizes) as buckets:
                found = bounds_and_gradients(relaxation, problem)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        assert seen.names["nonzero_static"]
        assert not seen.names["nonzero"]
        assert not buckets.overflow
        for name, size in all_of_them.next_sizes().items():
            assert all_of_them.wanted[name] <= size


def test_unstable_relus_are_counted_and_no_value_is_read(problem: Problem) -> None:
    relaxation = DeepPoly(skip_ibp_stable=True)
    with Seen() as seen, fixed_sizes({"fc1": 1}) as buckets:
        bounds_and_gradients(relaxation, problem)
    assert not seen.names["_local_scalar_dense"] + seen.names["item"] + seen.names["nonzero"]
    by_intervals = IBP().preactivation_bounds(*problem[:3])
    for node in problem[0].activations[1:]:
        box = by_intervals[node.name]
        assert buckets.wanted[node.inputs[0]] == ((box.lower < 0) & (box.upper > 0)).sum()


def test_what_exceeds_a_size_keeps_the_bounds_of_ibp(problem: Problem) -> None:
    graph, tensors, box, _ = problem
    relaxation = DeepPoly(skip_ibp_stable=True)
    in_full, by_intervals = relaxation.preactivation_bounds(*problem[:3]), IBP().preactivation_bounds(*problem[:3])
    second = graph.activations[1]
    with fixed_sizes({second.inputs[0]: 3}) as buckets:
        found = relaxation.preactivation_bounds(graph, tensors, box)[second.name]
    assert buckets.overflow
    changed = found.lower != by_intervals[second.name].lower
    assert changed.sum() == 3
    expected = torch.where(changed, in_full[second.name].lower, by_intervals[second.name].lower)
    torch.testing.assert_close(found.lower, expected)


def test_sizes_are_halves_of_halves_of_all_elements() -> None:
    with fixed_sizes({}) as buckets:
        for number in (1, 5):
            buckets.chosen("a", torch.arange(100) < number)
        buckets.chosen("b", torch.ones(100, dtype=torch.bool))
    assert buckets.next_sizes() == {"a": 7, "b": 100}
    assert current_buckets() is None
