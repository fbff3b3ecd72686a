"""The relaxations against bounds computed by an independent library (float64)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor, nn

from gls_lightning.bounds import INPUT, Box, Graph, Node, trace
from gls_lightning.bounds.operations import Activation
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, Relaxation

METHODS = {"IBP": IBP(), "CROWN-IBP": CROWNIBP(), "CROWN": DeepPoly()}
CASES = [
    "BNCNN_mnist_eps0.1_clip",
    "BNCNN_mnist_eps0.1_free",
    "CNN3-tiny_mnist_eps0.01_clip",
    "CNN3-tiny_mnist_eps0.1_clip",
    "CNN3-tiny_mnist_eps0.1_free",
    "CNN3_mnist_eps0.1_clip",
    "CNN3_mnist_eps0.1_free",
    "ResNet-tiny_mnist_eps0.1_clip",
    "ResNet-tiny_mnist_eps0.1_free",
    "edge_mlp",
]

CASES_OF_ALPHA_CROWN = [
    "BNCNN_mnist_eps0.1_clip",
    "BNCNN_mnist_eps0.1_free",
    "CNN3-tiny_mnist_eps0.01_clip",
    "CNN3-tiny_mnist_eps0.1_free",
    "CNN3_mnist_eps0.1_clip",
    "ResNet-tiny_mnist_eps0.1_free",
]


class ResNetTiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, 2, 2)
        self.conv2 = nn.Conv2d(4, 8, 3, 2, 1)
        self.conv3 = nn.Conv2d(8, 8, 3, 1, 1)
        self.short = nn.Conv2d(4, 8, 1, 2)
        self.conv4 = nn.Conv2d(8, 8, 3, 1, 1)
        self.conv5 = nn.Conv2d(8, 8, 3, 1, 1)
        self.fc = nn.Linear(392, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv3(torch.relu(self.conv2(x))) + self.short(x))
        x = torch.relu(self.conv5(torch.relu(self.conv4(x))) + x)
        return self.fc(x.flatten(1))


def cnn3(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(width, width, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(49 * width, 10),
    )


def batch_norm_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 5, 2, 2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(196, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)),
    )


def edge_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


NETWORKS = {
    "BNCNN": batch_norm_cnn,
    "CNN3-tiny": lambda: cnn3(2),
    "CNN3": lambda: cnn3(8),
    "ResNet-tiny": ResNetTiny,
    "edge": edge_mlp,
}


class Case:
    """One file of reference bounds, with its network traced."""

    def __init__(self, path: Path) -> None:
        self.arrays = {
            key: torch.from_numpy(np.asarray(a)) for key, a in np.load(path).items() if a.dtype.kind in "fiu"
        }
        network = NETWORKS[path.stem.split("_")[0]]().double()
        network.load_state_dict({k.removeprefix("param/"): v for k, v in self.arrays.items() if k.startswith("param/")})
        self.tensors = network.state_dict()
        self.box = Box(self.arrays["x_lower"], self.arrays["x_upper"])
        self.graph: Graph = trace(network, self.box.lower.shape[1:])

    def pre_activations(self, method: str) -> list[Box]:
        count = sum(key.startswith(f"{method}/pre") and key.endswith("lower") for key in self.arrays)
        return [Box(*(self.arrays[f"{method}/pre{i}/{side}"] for side in ("lower", "upper"))) for i in range(count)]


def load(name: str, shared: Path) -> Case:
    return Case(shared / "reference" / "bounds" / f"{name}.npz")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, shared: Path) -> Case:
    return load(request.param, shared)


@pytest.mark.parametrize("method", METHODS)
def test_bounds_equal_the_reference(case: Case, method: str) -> None:
    relaxation: Relaxation = METHODS[method]
    arrays, tensors, box = case.arrays, case.tensors, case.box
    bounds = relaxation.preactivation_bounds(case.graph, tensors, box)
    expected = case.pre_activations(method)
    assert len(bounds) == len(expected) > 0
    for ours, theirs in zip(bounds.values(), expected, strict=True):
        torch.testing.assert_close(ours.lower, theirs.lower, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours.upper, theirs.upper, rtol=1e-9, atol=1e-9)
    logits = torch.eye(case.graph.num_outputs, dtype=torch.float64).expand(len(box.lower), -1, -1)
    for name, rows in {"spec": arrays["C"], "logits": logits}.items():
        lower = relaxation(case.graph, tensors, box, rows)
        upper = -relaxation(case.graph, tensors, box, -rows)
        torch.testing.assert_close(lower, arrays[f"{method}/{name}/lower"], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(upper, arrays[f"{method}/{name}/upper"], rtol=1e-9, atol=1e-9)


def test_evaluation_equals_the_clean_logits(case: Case) -> None:
    if "logits_clean" in case.arrays:
        logits = case.graph(case.tensors, case.arrays["x"])
        torch.testing.assert_close(logits, case.arrays["logits_clean"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["lower", "upper"])
@pytest.mark.parametrize("name", CASES_OF_ALPHA_CROWN)
def test_alpha_crown_is_as_tight_as_the_reference(name: str, side: str, shared: Path) -> None:
    case, sign = load(name, shared), 1 if side == "lower" else -1
    box, rows = Box(*(side[:2] for side in case.box)), sign * case.arrays["C"][:2]
    lower = AlphaCROWN()(case.graph, case.tensors, box, rows)
    assert (lower >= DeepPoly()(case.graph, case.tensors, box, rows) - 1e-9).all()
    assert (lower >= sign * case.arrays[f"aCROWN-fixed/spec/{side}"][:2] - 1e-3).all()


@pytest.mark.parametrize(
    ("name", "samples", "functions"),
    [
        ("edge_mlp", 4, 2),
        ("CNN3-tiny_mnist_eps0.01_clip", 2, 2),
        ("CNN3-tiny_mnist_eps0.1_clip", 2, 2),
        ("BNCNN_mnist_eps0.1_clip", 1, 2),
    ],
)
def test_alpha_crown_comes_close_to_the_triangle_relaxation(
    name: str, samples: int, functions: int, shared: Path
) -> None:
    """The linear program's minimum is the bound with the best of all slopes (Salman et al., 2019)."""
    case = load(name, shared)
    box, rows = Box(*(side[:samples] for side in case.box)), case.arrays["C"][:samples, :functions]
    arguments = case.graph, case.tensors, box, rows
    crown, ours = DeepPoly()(*arguments), AlphaCROWN()(*arguments)
    best = torch.tensor(list(minima_over_triangles(*arguments)), dtype=torch.float64).view_as(ours)
    assert (ours <= best + 1e-6).all()
    assert ((best - ours) <= 0.2 * (best - crown) + 1e-6).all()


def minima_over_triangles(graph: Graph, tensors: dict[str, Tensor], box: Box, rows: Tensor) -> Iterable[float]:
    """Minima of the rows of each sample over the convex hull of every ReLU, its input bounded by CROWN (HiGHS)."""
    bounds = DeepPoly().preactivation_bounds(graph, tensors, box)
    for sample in range(len(rows)):
        program = TriangleProgram(graph, tensors, Box(*(side[sample] for side in box)))
        for name, relu in bounds.items():
            program.add_relu(name, *(side[sample].flatten().numpy() for side in relu))
        yield from (program.minimum(row.numpy()) for row in rows[sample])


class TriangleProgram:
    """The linear program of one sample; its variables are all values of the network, node by node."""

    def __init__(self, graph: Graph, tensors: dict[str, Tensor], box: Box) -> None:
        sizes = [graph.input_shape.numel(), *(node.operation.output_shape.numel() for node in graph.nodes)]
        ends = np.cumsum(sizes)
        names = [INPUT, *(node.name for node in graph.nodes)]
        self.place = {name: slice(end - size, end) for name, size, end in zip(names, sizes, ends, strict=True)}
        self.graph, self.num_variables = graph, ends[-1]
        self.limits = np.tile([-np.inf, np.inf], (self.num_variables, 1))
        self.limits[self.place[INPUT]] = np.stack([side.flatten().numpy() for side in box], 1)
        self.equal: list[tuple[sparse.csr_array, np.ndarray]] = []
        self.at_most: list[tuple[sparse.csr_array, np.ndarray]] = []
        for node in graph.nodes:
            if not isinstance(node.operation, Activation):
                self.add_affine(node, tensors)

    def add_affine(self, node: Node, tensors: dict[str, Tensor]) -> None:
        zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in node.operation.input_shapes]

        def evaluate(*inputs: Tensor) -> Tensor:
            return node.operation.evaluate(tensors, *inputs).flatten()

        matrices = torch.func.jacrev(evaluate, argnums=tuple(range(len(zeros))))(*zeros)
        parts = {name: m.flatten(1).numpy() for name, m in zip(node.inputs, matrices, strict=True)}
        constant = evaluate(*zeros).numpy()
        self.equal.append((self.spread({**parts, node.name: -np.eye(len(constant))}), -constant))

    def add_relu(self, name: str, lower: np.ndarray, upper: np.ndarray) -> None:
        """``w >= v``, ``w >= 0`` and below the chord; a neuron that is stable is fixed by these and its limits."""
        before = self.graph.by_name[name].inputs[0]
        chord = np.where(upper > np.maximum(lower, 0), np.maximum(upper, 0) - np.maximum(lower, 0), 0)
        chord = np.divide(chord, upper - lower, out=np.zeros_like(upper), where=upper > lower)
        one, zero = np.eye(len(lower)), np.zeros(len(lower))
        self.at_most.append((self.spread({before: one, name: -one}), zero))
        above = np.maximum(lower, 0) - chord * lower
        self.at_most.append((self.spread({before: -np.diag(chord), name: one}), above))
        self.limits[self.place[name]] = [0, np.inf]

    def spread(self, parts: dict[str, np.ndarray]) -> sparse.csr_array:
        """Coefficients of some nodes as coefficients of all variables."""
        height = len(next(iter(parts.values())))
        matrix = sparse.lil_array((height, self.num_variables))
        for name, part in parts.items():
            matrix[:, self.place[name]] = part
        return matrix.tocsr()

    def minimum(self, row: np.ndarray) -> float:
        cost = np.zeros(self.num_variables)
        cost[self.place[self.graph.output]] = row
        (a_ub, b_ub), (a_eq, b_eq) = (
            (sparse.vstack([matrix for matrix, _ in rows]), np.concatenate([limit for _, limit in rows]))
            for rows in (self.at_most, self.equal)
        )
        result = linprog(cost, a_ub, b_ub, a_eq, b_eq, self.limits, method="highs")
        assert result.success, result.message
        return float(result.fun)
