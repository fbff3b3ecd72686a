"""The adapter of auto_LiRPA; what needs the library itself is skipped where it is absent or too old."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch
from common.networks import ResidualNetwork
from torch import nn

from gls_lightning.bounds import Box, OpaqueGraph, UnsupportedOperationError, margin_specification, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, AutoLiRPA, DeepPoly, auto_lirpa

SHAPE = (2, 6, 6)
EQUALS = {"IBP": IBP(), "CROWN-IBP": CROWNIBP(), "CROWN": DeepPoly()}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def version(name: str) -> str:
        if request.param is None:
            raise PackageNotFoundError(name)
        return request.param

    monkeypatch.setattr(auto_lirpa, "version", version)


@pytest.mark.parametrize(
    ("installed", "message"),
    [(None, "it is not installed"), ("0.3", "version 0.3 is installed"), ("0.6.9", "version 0.6.9 is installed")],
    indirect=["installed"],
)
def test_a_library_that_does_not_do_is_refused(installed: None, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"needs auto_LiRPA 0.7 or newer, .* source code .*; {message}"):
        AutoLiRPA()


@pytest.mark.parametrize("installed", ["0.7", "0.7.1", "0.10.0", "1.0rc1"], indirect=True)
def test_newer_ones_will_do(installed: None) -> None:
    assert AutoLiRPA().differentiable
    assert not AutoLiRPA(method="alpha-CROWN").differentiable
    with pytest.raises(ConfigurationError, match="method is 'crown'; it must be one of IBP, CROWN-IBP"):
        AutoLiRPA(method="crown")


@pytest.fixture
def library() -> None:
    try:
        AutoLiRPA()
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("method", EQUALS)
@pytest.mark.parametrize("batch_statistics", [False, True])
def test_equals_our_own_bounds_and_gradients(library: None, method: str, batch_statistics: bool) -> None:
    torch.manual_seed(0)
    network, x = ResidualNetwork().double(), torch.rand(3, *SHAPE, dtype=torch.double)
    graph, params = trace(network, SHAPE), dict(network.named_parameters())
    tensors = {**params, **dict(network.named_buffers())}
    tensors |= graph.batch_statistics(tensors, x) if batch_statistics else {}
    problem = graph, tensors, Box.around(x, 0.1), margin_specification(torch.tensor([0, 1, 2]), 4, torch.double)
    relaxation = AutoLiRPA(method=method, bound_opts={"sparse_intermediate_bounds": False})
    bounds, expected = relaxation(*problem), EQUALS[method](*problem)
    torch.testing.assert_close(bounds, expected)
    torch.testing.assert_close(
        torch.autograd.grad(bounds.exp().sum(), params.values(), retain_graph=True),
        torch.autograd.grad(expected.exp().sum(), params.values(), retain_graph=True),
    )
    torch.testing.assert_close(
        relaxation.preactivation_bounds(*problem[:3]), EQUALS[method].preactivation_bounds(*problem[:3])
    )


@pytest.mark.parametrize("method", ["IBP", "CROWN-IBP", "CROWN"])
def test_bounds_networks_that_we_cannot(library: None, method: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)).double()
    with pytest.raises(UnsupportedOperationError) as error:
        trace(network, SHAPE)
    graph, tensors = OpaqueGraph(network, SHAPE, error.value), dict(network.named_parameters())
    box = Box.around(torch.rand(3, *SHAPE, dtype=torch.double), 0.1)
    spec = margin_specification(torch.tensor([0, 1, 2]), 4, torch.double)
    relaxation = AutoLiRPA(method=method)
    lower = relaxation(graph, tensors, box, spec)
    for _ in range(50):
        x = torch.lerp(*box, torch.rand_like(box.lower).round())
        assert (torch.einsum("bsk,bk->bs", spec, network(x)) >= lower - 1e-9).all()
    assert len(relaxation.preactivation_bounds(graph, tensors, box)) == 1
    with torch.no_grad():
        weight = tensors["0.weight"]
        direction, step = torch.randn_like(weight), 1e-6
        moved = [relaxation(graph, {**tensors, "0.weight": weight + t * direction}, box, spec) for t in (step, -step)]
    (gradient,) = torch.autograd.grad(lower.sum(), weight)
    torch.testing.assert_close(
        (gradient * direction).sum(), (moved[0] - moved[1]).sum() / (2 * step), rtol=1e-4, atol=0
    )


def test_optimised_slopes_are_no_worse_and_leave_no_gradient(library: None) -> None:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(72, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
    network = nn.Sequential(*layers)
    tensors = dict(network.named_parameters())
    spec = margin_specification(torch.tensor([0, 1, 2]), 4)
    problem = trace(network, SHAPE), tensors, Box.around(torch.rand(3, *SHAPE), 0.3), spec
    bounds = AutoLiRPA(method="alpha-CROWN")(*problem)
    assert (bounds >= DeepPoly()(*problem) - 1e-5).all()
    assert not bounds.requires_grad
    assert all(tensor.grad is None and tensor.requires_grad for tensor in tensors.values())
