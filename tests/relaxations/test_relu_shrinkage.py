"""IBP with shrunk ReLU inputs: by hand, by a loop in numpy, and what it may and may not be used for."""

import csv
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from common.runs import TINY
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, margin_specification, trace
from gls_lightning.certification import Certifier
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main
from gls_lightning.relaxations import IBP, Relaxation

IDENTITY = torch.eye(2).double()[None]


def by_hand_network() -> nn.Sequential:
    """Hidden units x, -x, x + 3 and x - 3; logits: their sum, and minus it."""
    network = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    values = [[1.0], [-1.0], [1.0], [1.0]], [0.0, 0.0, 3.0, -3.0], [[1.0] * 4, [-1.0] * 4], [0.0, 0.0]
    for tensor, value in zip(network.parameters(), values, strict=True):
        tensor.data.copy_(torch.tensor(value))
    return network


def deep_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 9), nn.LeakyReLU(0.1), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


def problem() -> tuple[nn.Sequential, Graph, Box, Tensor]:
    network = deep_network()
    box = Box.around(torch.rand(5, 6, dtype=torch.double), 0.1)
    return network, trace(network, (6,)), box, margin_specification(torch.arange(5) % 3, 3, torch.double)


def test_by_hand() -> None:
    """For x in [-1, 2] the units reach [-1, 2], [-2, 1], [2, 5] and [-4, -1], of which the first two cross zero."""
    network, box = by_hand_network(), Box(torch.tensor([[-1.0]]).double(), torch.tensor([[2.0]]).double())
    arguments = trace(network, (1,)), network.state_dict(), box
    torch.testing.assert_close(IBP()(*arguments, IDENTITY), torch.tensor([[2.0, -(2.0 + 1.0 + 5.0)]]).double())
    shrunk = IBP(relu_shrinkage=0.8)
    torch.testing.assert_close(shrunk(*arguments, IDENTITY), torch.tensor([[2.0, -(1.6 + 0.8 + 5.0)]]).double())
    (bounds,) = shrunk.preactivation_bounds(*arguments).values()
    expected = Box(torch.tensor([[-1.0, -2, 2, -4]]).double(), torch.tensor([[2.0, 1, 5, -1]]).double())
    torch.testing.assert_close(bounds, expected)


def loop(network: nn.Sequential, lower: np.ndarray, upper: np.ndarray, factor: float) -> list[tuple]:
    """Bounds of each layer's input for one sample, one element at a time."""
    found = []
    for layer in network:
        found.append((lower, upper))
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            ends = [[(w * low, w * high) for w, low, high in zip(row, lower, upper, strict=True)] for row in weight]
            lower = np.array([sum(min(pair) for pair in row) for row in ends]) + bias
            upper = np.array([sum(max(pair) for pair in row) for row in ends]) + bias
        elif isinstance(layer, nn.ReLU):
            upper = np.array([h * factor if low < 0 < h else h for low, h in zip(lower, upper, strict=True)])
            lower, upper = np.maximum(lower, 0), np.maximum(upper, 0)
        else:
            lower, upper = (np.where(side > 0, side, 0.1 * side) for side in (lower, upper))
    return found


@pytest.mark.parametrize("factor", [0.1, 0.8])
def test_against_a_loop(factor: float) -> None:
    """The LeakyReLU is left alone; the last linear layer is merged with the specification."""
    network, graph, box, specification = problem()
    relaxation = IBP(relu_shrinkage=factor)
    lower = relaxation(graph, network.state_dict(), box, specification)
    bounds = relaxation.preactivation_bounds(graph, network.state_dict(), box)
    assert bounds.keys() == {"1", "3", "5"}
    for i in range(5):
        found = loop(network, box.lower[i].numpy(), box.upper[i].numpy(), factor)
        for name, box_of_node in bounds.items():
            for side, expected in zip(box_of_node, found[int(name)], strict=True):
                np.testing.assert_allclose(side[i].numpy(), expected)
        rows = specification[i].numpy() @ network[6].weight.detach().numpy()
        low, high = found[6]
        worst = np.where(rows > 0, rows * low, rows * high).sum(1)
        offset = specification[i].numpy() @ network[6].bias.detach().numpy()
        np.testing.assert_allclose(lower[i].numpy(), worst + offset)


@pytest.mark.parametrize("none", [None, 1.0, 1])
def test_without_it_everything_is_as_before(none: float | None) -> None:
    network, graph, box, specification = problem()
    relaxation = IBP(relu_shrinkage=none)
    intervals = graph.intervals(network.state_dict(), box)
    assert relaxation.sound
    assert relaxation.vectorisable
    assert torch.equal(*(r(graph, network.state_dict(), box, specification) for r in (relaxation, IBP())))
    for name, bounds in relaxation.preactivation_bounds(graph, network.state_dict(), box).items():
        assert all(map(torch.equal, bounds, intervals[graph.by_name[name].inputs[0]]))


def test_bounds_rise_as_the_factor_falls() -> None:
    network, graph, box, specification = problem()
    by_factor = [
        IBP(relu_shrinkage=f)(graph, network.state_dict(), box, specification) for f in (1.0, 0.8, 0.5, 0.1, 1e-9)
    ]
    assert all((a < b).all() for a, b in pairwise(by_factor))


def test_vmap_equals_the_loop_and_gradients_finite_differences() -> None:
    network, graph, box, specification = problem()
    params = {name: p.detach() for name, p in network.named_parameters()}

    def bound(params: dict[str, Tensor]) -> Tensor:
        return IBP(relu_shrinkage=0.8)(graph, params, box, specification)

    stack = {name: p + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for name, p in params.items()}
    together = torch.func.vmap(bound)(stack)
    for i in range(3):
        torch.testing.assert_close(together[i], bound({name: p[i] for name, p in stack.items()}))
    leaves = tuple(p.clone().requires_grad_() for p in params.values())
    assert torch.autograd.gradcheck(lambda *p: bound(dict(zip(params, p, strict=True))), leaves)


def test_nothing_crosses_zero_at_radius_zero() -> None:
    network, graph, box, specification = problem()
    point = Box(box.centre, box.centre)
    lower = IBP(relu_shrinkage=0.5)(graph, network.state_dict(), point, specification)
    expected = torch.einsum("bsk,bk->bs", specification, network(box.centre))
    torch.testing.assert_close(lower, expected)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.1, float("nan")])
def test_factors_out_of_range(value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"relu_shrinkage is {value}; it must be above 0 and at most 1"):
        IBP(relu_shrinkage=value)


def test_certification_refuses_it() -> None:
    relaxations: list[Relaxation] = [IBP(relu_shrinkage=0.8)]
    with pytest.raises(ConfigurationError, match="IBP, which is not sound"):
        Certifier(relaxations=relaxations)


@pytest.mark.usefixtures("clean_place")
def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It trains; validation's loss is that of CROWN-IBP; the certifier of ``gls test`` refuses it."""
    checkpoint = "runs/tiny/version_0/checkpoints/last.ckpt"
    main(["fit", "--config", TINY, "--model.relaxation=IBP", "--model.relaxation.relu_shrinkage=0.8"])
    rows = list(csv.DictReader(Path("runs/tiny/version_0/metrics.csv").read_text().splitlines()))
    (of_run,) = (float(row["val/loss"]) for row in rows if row["val/loss"])
    losses = []
    for relaxation in ("CROWNIBP", "IBP"):
        capsys.readouterr()
        main(["validate", "--config", TINY, f"--model.relaxation={relaxation}", "--ckpt_path", checkpoint])
        found = re.search(r"val/loss\W+([\d.]+)", capsys.readouterr().out)
        assert found
        losses.append(float(found[1]))
    assert of_run == pytest.approx(losses[0], rel=1e-5)
    assert of_run != pytest.approx(losses[1], rel=1e-3)
    refused = "[{class_path: IBP, init_args: {relu_shrinkage: 0.8}}]"
    with pytest.raises(SystemExit):
        main(["test", "--ckpt_path", checkpoint, f"--model.certifier.relaxations={refused}"])
    assert "IBP, which is not sound; it can certify nothing" in capsys.readouterr().err
