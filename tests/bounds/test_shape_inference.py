"""Counting without data, and without PyTorch's compiler."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import ShapeInference, trace
from gls_lightning.relaxations import CROWNIBP, AlphaCROWN, DeepPoly, HBox
from gls_lightning.relaxations.parts import RelaxationInParts

FIRST_BOUND = """
import sys
import torch
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.networks import CNN3Tiny
from gls_lightning.relaxations import {relaxation} as Relaxation
network = CNN3Tiny()
problem = trace(network, (1, 28, 28)), dict(network.named_parameters()), Box.around(torch.rand(2, 1, 28, 28), 0.1)
bounds = Relaxation()(*problem, margin_specification(torch.tensor([0, 1]), 10))
if bounds.requires_grad:
    bounds.sum().backward()
print(sorted({{"torch._dynamo", "sympy"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize("relaxation", ["DeepPoly", "CROWNIBP", "HBox"])
def test_a_first_bound_does_not_import_the_compiler(relaxation: str) -> None:
    command = [sys.executable, "-c", FIRST_BOUND.format(relaxation=relaxation)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    "relaxation", [DeepPoly(), CROWNIBP(intersect_ibp=True), HBox(), AlphaCROWN()], ids=lambda r: type(r).__name__
)
def test_the_counts_are_those_by_the_rules_of_pytorch(relaxation: RelaxationInParts) -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.LeakyReLU()),
        *(
            nn.Conv2d(4, 4, 3, padding=3, dilation=2, groups=2),
            nn.ReLU(),
            nn.Conv2d(4, 4, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
        ),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 10)),
    )
    graph, shapes = trace(network, (1, 15, 15)), {name: tensor.shape for name, tensor in network.state_dict().items()}
    with ShapeInference():
        ours = relaxation._count(graph, shapes, 9)
    assert ours == relaxation._count(graph, shapes, 9)
    assert ours.kept > 1000


def test_tensors_with_data_are_computed() -> None:
    with ShapeInference():
        number: Tensor = torch.arange(3.0) * 2
        shape = (torch.ones(3, 1, device="meta") * torch.ones(2, device="meta")).shape
    assert number.tolist() == [0, 2, 4]
    assert shape == (3, 2)
