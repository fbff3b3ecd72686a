"""The examples of README.md and CONTRIBUTING.md work as they stand there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.bounds.operations.registry import BUILDERS
from gls_lightning.estimators import Key
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

ROOT = Path(__file__).parents[1]


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a document's block of code with a certain text defines."""
    document, text = request.param
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (code,) = (block for block in blocks if text in block)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "example"}
    exec(code, names)
    return names


@pytest.mark.parametrize("example", [("README.md", "CertifiedTrainingModule")], indirect=True)
def test_own_project(example: dict[str, Any]) -> None:
    assert example["trainer"].callback_metrics["val/certified_accuracy"] > 0.2
    trained, loaded = (dict(example[name].named_parameters()) for name in ("module", "loaded"))
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], parameter) for name, parameter in trained.items())


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class Intersection")], indirect=True)
def test_relaxation(example: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    graph, x = trace(network, (4,)), torch.rand(5, 4)
    problem = (graph, network.state_dict(), Box.around(x, 0.1), margin_specification(torch.zeros(5, dtype=int), 3))
    both = example["Intersection"]()(*problem)
    assert (both >= IBP()(*problem)).all()
    assert (both >= CROWNIBP()(*problem)).all()


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class AntitheticRGS")], indirect=True)
def test_estimator_is_exact_on_a_quadratic(example: dict[str, Any]) -> None:
    theta = torch.randn(5, requires_grad=True)
    matrix = torch.randn(5, 5)

    def quadratic(params: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return params["theta"] @ matrix @ params["theta"], {}

    example["AntitheticRGS"](sigma=0.5)(quadratic, {"theta": theta}, Key(0, 0)).loss.backward()
    torch.testing.assert_close(theta.grad, (matrix + matrix.T) @ theta.detach())


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class LeakyReLU")], indirect=True)
def test_operation_gives_sound_bounds(example: dict[str, Any]) -> None:
    try:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3))
        graph, x = trace(network, (4,)), torch.rand(5, 4)
        torch.testing.assert_close(graph(network.state_dict(), x), network(x))
        box, spec = Box.around(x, 0.3), torch.eye(3).expand(5, 3, 3)
        for relaxation in (IBP(), CROWNIBP(), DeepPoly()):
            lower = relaxation(graph, network.state_dict(), box, spec)
            for _ in range(100):
                inside = torch.lerp(*box, torch.rand_like(x).mul(1.5).sub(0.25).clamp(0, 1))
                assert (network(inside) >= lower - 1e-5).all()
    finally:
        del BUILDERS[nn.LeakyReLU]
