"""HBox against its textbook form, IBP, and networks where it is exact."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from numpy.typing import NDArray
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, margin_specification, trace
from gls_lightning.bounds.zonotope import Zonotope
from gls_lightning.networks import CNN7, CNN3Tiny
from gls_lightning.relaxations import IBP, DeepPoly, HBox, Relaxation

SHAPE = (2, 8, 8)
CLASSES = 3


class Residual(nn.Module):
    """Strided branches, grouped and dilated convolutions, pooling and an activation that is nowhere linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.skip = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 1, stride=2)
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 4, 2, 1, groups=2), nn.Conv2d(4, 6, 3, padding=2, dilation=2)
        self.norm, self.leaky, self.pool = nn.BatchNorm2d(6), nn.LeakyReLU(0.1), nn.AvgPool2d(3, 1, 1)
        self.fc1, self.fc2 = nn.Linear(96, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem((x - 0.5) / 0.3))
        x = self.leaky(self.norm(self.conv2(torch.relu(self.conv1(x))) + self.skip(x)) + 0.3)
        return self.fc2(torch.tanh(self.fc1(self.pool(x).flatten(1))))


NETWORKS = {
    "residual": lambda: Residual(),
    "CNN3Tiny": lambda: CNN3Tiny(input_shape=SHAPE, num_classes=CLASSES, batch_norm=True),
    "CNN7": lambda: nn.Sequential(CNN7(input_shape=(2, 4, 4), num_classes=CLASSES)),
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)
    ),
}


def problem(name: str, seed: int, epsilon: float) -> tuple[Graph, dict[str, Tensor], Box, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, shape = NETWORKS[name]().double(), (2, 4, 4) if name == "CNN7" else SHAPE
        for parameter in network.parameters():
            parameter.detach().add_(0.3 * torch.randn_like(parameter) if parameter.ndim == 1 else 0)
        x, labels = torch.rand(3, *shape, dtype=torch.float64), torch.randint(CLASSES, (3,))
    box = Box.around(x, epsilon)
    return trace(network, shape), network.state_dict(), box, margin_specification(labels, CLASSES, torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
@given(seed=st.integers(0, 10**6), epsilon=st.sampled_from([0.003, 0.03, 0.1, 0.4]))
@settings(max_examples=6, deadline=None)
def test_never_looser_than_ibp(name: str, seed: int, epsilon: float) -> None:
    graph, tensors, box, spec = problem(name, seed, epsilon)
    assert (HBox()(graph, tensors, box, spec) >= IBP()(graph, tensors, box, spec) - 1e-9).all()
    ours, intervals = (relaxation.preactivation_bounds(graph, tensors, box) for relaxation in (HBox(), IBP()))
    for node, bounds in ours.items():
        assert (bounds.lower >= intervals[node].lower - 1e-9).all()
        assert (bounds.upper <= intervals[node].upper + 1e-9).all()


def textbook(layers: list[tuple[NDArray, NDArray]], lower: NDArray, upper: NDArray, spec: NDArray) -> tuple:
    """One sample through an MLP: bounds of the margins, and of every ReLU's input. ``v = head + errors e + beta b``."""
    head, beta, errors, bounds = (lower + upper) / 2, np.zeros_like(lower), np.diag((upper - lower) / 2), []
    for weight, bias in layers[:-1]:
        head, beta, errors = weight @ head + bias, np.abs(weight) @ beta, weight @ errors
        width = beta + np.abs(errors).sum(1)
        bounds.append((head - width, head + width))
        for i, (low, high) in enumerate(zip(*bounds[-1], strict=True)):
            if low < 0:
                head[i] = beta[i] = max(high, 0) / 2
                errors[i] = 0
    weight, bias = spec @ layers[-1][0], spec @ layers[-1][1]
    return weight @ head + bias - np.abs(weight) @ beta - np.abs(weight @ errors).sum(1), bounds


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.05, 0.3])
def test_is_the_textbook_algorithm_on_an_mlp(epsilon: float) -> None:
    graph, tensors, box, spec = problem("mlp", 0, epsilon)
    layers = [(tensors[f"{i}.weight"].numpy(), tensors[f"{i}.bias"].numpy()) for i in (1, 3, 5)]
    margins, relus = HBox()(graph, tensors, box, spec), HBox().preactivation_bounds(graph, tensors, box)
    for sample in range(3):
        expected, bounds = textbook(layers, *(side[sample].flatten().numpy() for side in box), spec[sample].numpy())
        np.testing.assert_allclose(margins[sample], expected, rtol=1e-10, atol=1e-10)
        for node, sides in zip(graph.activations, bounds, strict=True):
            for side, values in zip(relus[node.name], sides, strict=True):
                np.testing.assert_allclose(side[sample], values, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["residual", "CNN3Tiny", "CNN7"])
def test_equals_the_dense_jacobian_where_every_relu_is_stable(name: str) -> None:
    """With large biases of either sign every ReLU is stable and the network affine over the box."""
    graph, tensors, box, spec = problem(name, 1, 0.05)
    if name == "residual":  # whose tanh is nowhere linear: only the bounds of its inputs can be exact
        graph = Graph(graph.ancestors("fc1"), graph.input_shape)
        spec = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for key, tensor in tensors.items():
        if key.endswith("bias") and tensor.numel() > CLASSES:
            tensor.add_(40 * torch.where(torch.arange(len(tensor)) % 3 == 0, -1, 1))
    for bounds in HBox().preactivation_bounds(graph, tensors, box).values():
        assert ((bounds.lower > 0) | (bounds.upper < 0)).all()
    x = box.centre

    def margins(x: Tensor, rows: Tensor) -> Tensor:
        return rows @ graph(tensors, x[None])[0]

    slopes = torch.func.vmap(torch.func.jacrev(margins))(x, spec).flatten(2)
    exact = torch.func.vmap(margins)(x, spec) - torch.einsum("bsk,bk->bs", slopes.abs(), box.radius.flatten(1))
    torch.testing.assert_close(HBox()(graph, tensors, box, spec), exact)
    torch.testing.assert_close(DeepPoly()(graph, tensors, box, spec), exact)


def test_coefficients_of_a_map_take_its_field_of_view_not_the_image() -> None:
    convolutions = nn.Conv2d(3, 4, 5, 2, 2), nn.Conv2d(4, 2, 4, 2, 1)
    network = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    graph, box = trace(network, (3, 32, 32)), Box.around(torch.rand(1, 3, 32, 32), 0.1)
    zonotopes = graph.propagate(
        Zonotope.of_input(box), lambda node, *inputs: node.operation.zonotope(network.state_dict(), *inputs)
    )
    slots = [zonotopes[node.name].errors.values.shape[1] for node in graph.nodes[:4]]
    assert slots == [3 * 5 * 5, 3 * 5 * 5, 3 * 11 * 11, 3 * 11 * 11]


PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(
    channels=st.lists(st.integers(1, 2), min_size=3, max_size=3), kernel=PAIR, stride=PAIR, padding=PAIR, more=PAIR,
    relaxation=st.sampled_from([IBP(), HBox(), DeepPoly()]),
)  # fmt: skip
@example(channels=[1, 1, 1], kernel=(4, 1), stride=(2, 3), padding=(1, 0), more=(1, 7), relaxation=HBox())
@settings(max_examples=30, deadline=None)
def test_gradients_in_double_precision(
    channels: list[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    more: tuple[int, int],
    relaxation: Relaxation,
) -> None:
    """A kernel of few channels is in two memory formats at once, one of which PyTorch may not differentiate."""
    torch.manual_seed(0)
    padding = padding[0] % kernel[0], padding[1] % kernel[1]
    first = nn.Conv2d(channels[0], channels[1], kernel, stride, padding)
    network = nn.Sequential(first, nn.ReLU(), nn.Conv2d(channels[1], channels[2], 1), nn.ReLU(), nn.Flatten())
    x = torch.rand(2, channels[0], kernel[0] + more[0], kernel[1] + more[1], dtype=torch.float64)
    network = nn.Sequential(network, nn.Linear(network(x.float()).shape[1], 2)).double()
    graph, specification = trace(network, x.shape[1:]), margin_specification(torch.tensor([0, 1]), 2, x.dtype)
    names, parameters = zip(*network.named_parameters(), strict=True)

    def bounds(*values: Tensor) -> Tensor:
        return relaxation(graph, dict(zip(names, values, strict=True)), Box.around(x, 0.1), specification)

    assert torch.autograd.gradcheck(bounds, parameters, fast_mode=True)
