"""Every operation's rules against each other and against torch's own modules."""

from itertools import product

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from torch import Tensor, nn

from gls_lightning.bounds import INPUT, Box, Graph, Lines, LowerSlope, UnsupportedOperationError, trace
from gls_lightning.bounds.operations import Activation, AffineOperation
from gls_lightning.bounds.rows import DenseRows, PatchRows, Rows
from gls_lightning.bounds.zonotope import Zonotope


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.3, -0.2]))
        self.register_buffer("std", torch.tensor([[[0.5]], [[2.0]]]))

    def forward(self, x: Tensor) -> Tensor:
        return (1 - (x - self.mean[None, :, None, None])) / self.std * 2 + 0.5


class Residual(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return self.branches[0](x) + self.branches[1](x)


class Pooling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(F.avg_pool2d(x, (2, 1), stride=1), (2, 3))


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.2 if "var" in name else torch.randn_like(tensor))
    return layer


MAP = (2, 7, 6)
MODULES = {
    "convolution": lambda: nn.Conv2d(2, 3, 3),
    "strided, padded": lambda: nn.Conv2d(2, 3, (4, 3), stride=(2, 3), padding=(2, 1)),
    "stride that leaves rows unread": lambda: nn.Conv2d(2, 3, 2, stride=3, bias=False),
    "dilated, grouped": lambda: nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2),
    "same padding": lambda: nn.Conv2d(2, 2, 5, padding="same"),
    "two convolutions": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(3, 2, 2, padding=1)),
    "convolutions beyond the map": lambda: nn.Sequential(*(nn.Conv2d(2, 2, 5, padding=2) for _ in range(3))),
    "convolution and batch norm": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), batch_norm(nn.BatchNorm2d(3)), nn.Conv2d(3, 2, 3, padding=1)
    ),
    "batch norm": lambda: batch_norm(nn.BatchNorm2d(2)),
    "average pooling": lambda: nn.AvgPool2d((2, 3), stride=(2, 1), padding=1),
    "functional average pooling": lambda: Pooling(),
    "adaptive average pooling": lambda: nn.AdaptiveAvgPool2d((1, 2)),
    "global average pooling": lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "normalisation": Normalised,
    "normalisation, convolution": lambda: nn.Sequential(Normalised(), nn.Conv2d(2, 2, 3, padding=1)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Identity()),
    "residual": lambda: Residual(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)),
    "residual with identity": lambda: Residual(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)), nn.Identity()),
    "residual of different strides": lambda: Residual(
        nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 1, 1)), nn.Conv2d(2, 3, 1, 2)
    ),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(84, 5), batch_norm(nn.BatchNorm1d(5)), nn.Linear(5, 3)),
    "linear, then map": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(84, 36), nn.Unflatten(1, (4, 3, 3)), nn.Conv2d(4, 2, 2)
    ),
}


@pytest.fixture(params=MODULES)
def affine(request: pytest.FixtureRequest) -> tuple[nn.Module, Graph, dict[str, Tensor]]:
    torch.manual_seed(0)
    module = MODULES[request.param]().double().eval()
    flat = nn.Sequential(module, nn.Flatten())
    return module, trace(flat, MAP), dict(flat.state_dict())


def substituted(graph: Graph, tensors: dict[str, Tensor], rows: Rows, x: Tensor) -> Tensor:
    """The rows' values at ``x`` less those at 0, by writing them as rows of the input."""
    pending = {graph.output: rows}
    for node in reversed(graph.nodes):
        assert isinstance(node.operation, AffineOperation)
        sources = node.operation.backward(tensors, pending.pop(node.name))
        for name, part in zip(node.inputs, sources, strict=True):
            pending[name] = pending[name] + part if name in pending else part
    return (pending.pop(INPUT).to_dense().elements * x[:, None, None]).flatten(3).sum(-1)


def test_graph_evaluates_like_the_module(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    x = torch.randn(3, *MAP, dtype=torch.float64)
    torch.testing.assert_close(graph(tensors, x), module(x).flatten(1))


def test_dense_rows_are_the_same_function(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    x = torch.randn(3, *MAP, dtype=torch.float64)
    rows = torch.randn(3, 1, 4, graph.num_outputs, dtype=torch.float64)
    change = (module(x) - module(torch.zeros_like(x))).flatten(1)
    expected = torch.einsum("bpsk,bk->bps", rows, change)
    ours = substituted(graph, tensors, DenseRows(rows, torch.Size([graph.num_outputs])), x)
    torch.testing.assert_close(ours, expected)


def test_patch_rows_are_the_same_function(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    x = torch.randn(3, *MAP, dtype=torch.float64)
    if module(x).ndim != 4:
        pytest.skip("ends in a vector")
    graph = Graph(graph.nodes[:-1], graph.input_shape)
    shape = module(x).shape[1:]
    rows = PatchRows.identity(torch.eye(shape[0], dtype=torch.float64), shape)
    expected = (module(x) - module(torch.zeros_like(x))).flatten(2).mT
    torch.testing.assert_close(substituted(graph, tensors, rows, x), expected)


def test_intervals_are_sound_and_reached(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    centre = torch.randn(2, *MAP, dtype=torch.float64)
    box = Box(centre - torch.rand_like(centre), centre + torch.rand_like(centre))
    bounds = graph.intervals(tensors, box)[graph.output]
    points = torch.stack([torch.lerp(*box, torch.rand_like(centre)) for _ in range(50)], 1)
    values = module(points.flatten(0, 1)).unflatten(0, (2, 50)).flatten(2)
    assert (values >= bounds.lower[:, None] - 1e-12).all()
    assert (values <= bounds.upper[:, None] + 1e-12).all()
    if len(graph.nodes) == 2:  # one operation and the flattening: intervals are exact
        jacobian = torch.func.vmap(torch.func.jacrev(lambda v: module(v[None]).flatten()))(centre).flatten(2)
        worst = torch.where(jacobian > 0, box.lower.flatten(1)[:, None], box.upper.flatten(1)[:, None])
        smallest = torch.einsum("bok,bok->bo", jacobian, worst - centre.flatten(1)[:, None]) + module(centre).flatten(1)
        torch.testing.assert_close(bounds.lower, smallest)


def test_zonotopes_of_affine_maps_are_exact(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    centre = torch.randn(2, *MAP, dtype=torch.float64)
    box = Box.from_centre(centre, torch.rand_like(centre))
    zonotopes = graph.propagate(Zonotope.of_input(box), lambda node, *inputs: node.operation.zonotope(tensors, *inputs))
    jacobian = torch.func.jacrev(lambda v: module(v[None]).flatten())(centre[0]).flatten(1)
    torch.testing.assert_close(zonotopes[graph.output].errors.values.expand(2, -1, -1)[0], jacobian.mT)
    width = box.radius.flatten(1) @ jacobian.abs().mT
    for node in graph.nodes[-2:]:  # coefficients of a map before the flattening, and of the vector
        expected = Box.from_centre(module(centre).flatten(1), width)
        torch.testing.assert_close(Box(*(side.flatten(1) for side in zonotopes[node.name].bounds)), expected)


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky relu": nn.LeakyReLU(0.3),
    "identity": nn.LeakyReLU(1.0),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
}
every_activation = pytest.mark.parametrize("module", ACTIVATIONS.values(), ids=ACTIVATIONS)
every_rule = pytest.mark.parametrize("rule", ["adaptive", "zero", "one", "parallel"])


def lines_of(module: nn.Module, box: Box, rule: LowerSlope) -> Lines:
    operation = trace(module, (2,)).activations[0].operation
    assert isinstance(operation, Activation)
    return operation.lines(box, rule)


@every_activation
@every_rule
@given(ends=st.lists(st.one_of(st.floats(-60, 60), st.floats(-2, 2)), min_size=2, max_size=2))
@example(ends=[-50.0, 60.0])
@example(ends=[8.0, 9.0])
@example(ends=[-1e-9, 1e-9])
@example(ends=[0.0, 0.0])
@example(ends=[1.0, 1.0 + 1e-15])
@settings(max_examples=20, deadline=None)
def test_lines_hold_everywhere_and_touch_the_ends(module: nn.Module, rule: LowerSlope, ends: list[float]) -> None:
    lower, upper = torch.tensor(sorted(ends), dtype=torch.float64)
    below, below_offset, above, above_offset = lines_of(module, Box(lower.view(1, 1), upper.view(1, 1)), rule)
    v = lower + (upper - lower) * torch.linspace(0, 1, 2001, dtype=torch.float64)
    value = module(v)
    assert (below * v + below_offset <= value + 1e-12).all()
    assert (value <= above * v + above_offset + 1e-12).all()
    if isinstance(module, nn.ReLU | nn.LeakyReLU):
        torch.testing.assert_close((above * v + above_offset)[0, [0, -1]], value[[0, -1]])


@pytest.mark.parametrize(("module", "smallest"), [(nn.ReLU(), 0.0), (nn.LeakyReLU(0.3), 0.3)])
@pytest.mark.parametrize(
    ("lower", "upper"), [(a, b) for a, b in product([-2.0, -1.0, 0.0, 0.5], [-1.0, 0.0, 1.0, 2.0]) if a <= b]
)
@every_rule
def test_lower_slopes(module: nn.Module, smallest: float, lower: float, upper: float, rule: LowerSlope) -> None:
    lines = lines_of(module, Box(torch.tensor([[lower]]), torch.tensor([[upper]])), rule)
    expected = {
        "adaptive": 1.0 if upper > -lower else smallest,
        "zero": smallest,
        "one": 1.0,
        "parallel": lines.upper_slope.item(),
    }[rule]
    if not lower < 0 < upper:
        expected = 1.0 if lower >= 0 and upper > 0 else smallest
    assert lines.lower_slope.item() == pytest.approx(expected)
    assert lines.lower_offset.item() == 0


@every_activation
def test_lines_and_their_gradients_are_finite_in_single_precision(module: nn.Module) -> None:
    ends = torch.tensor([-1e4, -90, -17, -1, -1e-7, -1e-38, 0, 1e-38, 1e-7, 1, 1 + 1e-7, 17, 90, 1e4])
    lower, upper = torch.combinations(ends, with_replacement=True).T
    box = Box(lower[:, None].requires_grad_(), upper[:, None].requires_grad_())
    lines = lines_of(module, box, "adaptive")
    gradients = torch.autograd.grad(sum(part.sum() for part in lines), list(box))
    assert all(part.isfinite().all() for part in (*lines, *gradients))
    assert (lines.lower_slope <= 1).all()
    assert (lines.upper_slope <= 1).all()


@pytest.mark.parametrize("slope", [-0.1, 1.5, float("nan")])
def test_leaky_relus_that_are_refused(slope: float) -> None:
    with pytest.raises(UnsupportedOperationError, match=f"negative_slope is {slope}; it must lie between 0 and 1"):
        trace(nn.LeakyReLU(slope), (2,))


class EveryCall(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(F.leaky_relu(x, 0.2), negative_slope=0.3)
        return F.tanh(torch.tanh(x).tanh()) + F.sigmoid(torch.sigmoid(x).sigmoid())


def test_functions_and_methods_are_activations_too() -> None:
    graph, x = trace(EveryCall(), (5,)), torch.randn(3, 5)
    assert len(graph.activations) == 8
    torch.testing.assert_close(graph({}, x), EveryCall()(x))


def test_batch_statistics_are_those_of_training_mode() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(60, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)),
    )
    graph, x = trace(network, MAP), torch.randn(5, *MAP)
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    statistics = graph.batch_statistics(tensors, x)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name])
    ours = graph({**tensors, **statistics}, x)
    torch.testing.assert_close(ours, network.train()(x))
    expected = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    actual = torch.autograd.grad(ours.square().sum(), list(network.parameters()))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
