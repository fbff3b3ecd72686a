"""The relaxations against bounds computed by an independent library (float64)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, trace
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation

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


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, shared: Path) -> Case:
    return Case(shared / "reference" / "bounds" / f"{request.param}.npz")


@pytest.mark.parametrize("method", METHODS)
def test_bounds_equal_the_reference(case: Case, method: str) -> None:
    relaxation: Relaxation = METHODS[method]
    arrays, tensors, box = case.arrays, case.tensors, case.box
    bounds = relaxation.relu_bounds(case.graph, tensors, box)
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
