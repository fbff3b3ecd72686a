"""Every operation's rules against each other and against torch's own modules."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, trace
from gls_lightning.bounds.dense_rows import DenseRows
from gls_lightning.bounds.graph import INPUT
from gls_lightning.bounds.operations import AffineOperation, ReLU
from gls_lightning.bounds.patch_rows import PatchRows
from gls_lightning.bounds.rows import Rows
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
    """The rows' values at ``x``, by writing them as rows of the input."""
    pending, total = {graph.output: rows}, torch.zeros(())
    for node in reversed(graph.nodes):
        assert isinstance(node.operation, AffineOperation)
        sources, constant = node.operation.backward(tensors, pending.pop(node.name))
        total = total if constant is None else total + constant
        for name, part in zip(node.inputs, sources, strict=True):
            pending[name] = pending[name] + part if name in pending else part
    return total + pending.pop(INPUT).dot(x)


def test_graph_evaluates_like_the_module(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    x = torch.randn(3, *MAP, dtype=torch.float64)
    torch.testing.assert_close(graph(tensors, x), module(x).flatten(1))


def test_dense_rows_are_the_same_function(affine: tuple[nn.Module, Graph, dict[str, Tensor]]) -> None:
    module, graph, tensors = affine
    x = torch.randn(3, *MAP, dtype=torch.float64)
    rows = torch.randn(3, 1, 4, graph.num_outputs, dtype=torch.float64)
    expected = torch.einsum("bpsk,bk->bps", rows, module(x).flatten(1))
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
    expected = module(x).flatten(2).mT
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


@pytest.mark.parametrize(
    ("lower", "upper"), [(a, b) for a, b in product([-2.0, -1.0, 0.0, 0.5], [-1.0, 0.0, 1.0, 2.0]) if a <= b]
)
def test_relu_lines_hold_and_touch(lower: float, upper: float) -> None:
    activation = trace(nn.ReLU(), (2,)).activations[0].operation
    assert isinstance(activation, ReLU)
    lines = activation.lines(Box(torch.tensor([[lower]]), torch.tensor([[upper]])))
    v = torch.linspace(lower, upper, 101)
    below, above = (s * v + o for s, o in ((lines[0], lines[1]), (lines[2], lines[3])))
    assert (below <= torch.relu(v) + 1e-6).all()
    assert (torch.relu(v) <= above + 1e-6).all()
    unstable = lower < 0 < upper
    assert lines.lower_slope.item() == (float(upper > -lower) if unstable else float(lower >= 0))
    torch.testing.assert_close(above.flatten()[[0, -1]], torch.relu(v[[0, -1]]))


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
