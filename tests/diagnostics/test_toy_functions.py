"""The toy functions of the paper's Fig. 3, against quadrature and the bounds that they stand for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from gls_lightning.bounds import Box, trace
from gls_lightning.diagnostics import DISCONTINUOUS, SENSITIVE, PiecewiseLinear
from gls_lightning.diagnostics.landscape.scores import deviation_from_convexity
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import DeepPoly

number = st.floats(-3, 3)


@st.composite
def functions(draw: st.DrawFn) -> PiecewiseLinear:
    breaks = sorted(draw(st.lists(number, max_size=4, unique=True)))
    pieces = [draw(st.lists(number, min_size=len(breaks) + 1, max_size=len(breaks) + 1)) for _ in range(2)]
    return PiecewiseLinear(breaks, *pieces)


def one(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.double)


@given(functions(), number, st.floats(0.05, 2))
def test_smoothing_is_the_gaussian_mean(function: PiecewiseLinear, w: float, sigma: float) -> None:
    def integrand(z: float) -> float:
        return function(one(w + sigma * z)).item() * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    edges = [(b - w) / sigma for b in function.breaks]
    expected, _ = quad(integrand, -9, 9, points=[edge for edge in edges if -9 < edge < 9] or None, limit=200)
    assert function.smoothed(one(w), sigma).item() == pytest.approx(expected, abs=1e-6)


@given(functions(), st.floats(0.05, 2))
def test_a_quantized_function_has_the_derivative_of_appendix_b2(function: PiecewiseLinear, sigma: float) -> None:
    quantized = PiecewiseLinear(function.breaks, function.intercepts, [0.0] * len(function.slopes))
    w = torch.linspace(-3, 3, 7, dtype=torch.double, requires_grad=True)
    (derivative,) = torch.autograd.grad(quantized.smoothed(w, sigma).sum(), w)
    z = (torch.tensor(function.breaks, dtype=torch.double) - w[:, None]) / sigma
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    jumps = torch.tensor(function.intercepts, dtype=torch.double).diff()
    torch.testing.assert_close(derivative, (jumps * density).sum(1) / sigma)


@given(functions(), st.floats(0.05, 2))
def test_smoothing_never_adds_deviation_from_convexity(function: PiecewiseLinear, sigma: float) -> None:
    """Theorem 3.1, with the original looked at as far as the smoothed one sees."""
    inside, wide = torch.linspace(-3, 3, 61).double(), torch.linspace(-25, 25, 501).double()
    smoothed = deviation_from_convexity(function.smoothed(inside, sigma))
    original = deviation_from_convexity(torch.cat([function(wide), function(wide + 1e-9)]).view(2, -1).T.flatten())
    # Chords between the points of the grid miss at most what the slopes can do in half a step.
    assert smoothed <= original + 0.1 * max(map(abs, function.slopes)) + 1e-9


@pytest.mark.parametrize("w", [-3.0, -1.0, -0.3, 0.0, 1e-6, 0.4, 1.0, 2.0])
def test_the_discontinuous_one_is_deep_polys_bound(w: float) -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    numbers = {"0.weight": [[1]], "0.bias": [w], "2.weight": [[1], [0]], "2.bias": [1, 0]}
    tensors = {name: torch.tensor(value, dtype=torch.double) for name, value in numbers.items()}
    box = Box(-torch.ones(1, 1).double(), torch.ones(1, 1).double())
    bound = DeepPoly()(trace(network, (1,)), tensors, box, torch.tensor([[[1.0, 0.0]]]).double())
    assert DISCONTINUOUS(one(w)).item() == pytest.approx(bound.item())


def minima(values: torch.Tensor, w: torch.Tensor) -> list[float]:
    falls = values.diff() < 0
    return w[1:-1][falls[:-1] & ~falls[1:]].tolist()


def test_the_sensitive_one_does_what_the_paper_says_of_its_own() -> None:
    w = torch.linspace(-3, 3, 6001).double()
    assert minima(SENSITIVE(w), w) == pytest.approx([-0.75, 1], abs=1e-3)
    assert SENSITIVE(one(-1.5)) == SENSITIVE(one(0.0))
    weak, right, strong = (minima(SENSITIVE.smoothed(w, sigma), w) for sigma in (0.25, 0.5, 1.0))
    assert len(weak) == 2
    assert -1.5 < weak[0] < 0
    assert len(right) == len(strong) == 1
    assert abs(right[0] - 1) < 0.4
    assert abs(strong[0] - 1) > 1


def test_numbers_that_do_not_fit_together() -> None:
    with pytest.raises(ConfigurationError, match="1 breaks have 1 intercepts and 2 slopes; they need 2 of each"):
        PiecewiseLinear([0.0], [1.0], [0.0, 1.0])
    with pytest.raises(ConfigurationError, match=r"breaks is \[1.0, 0.0\]; it must be increasing"):
        PiecewiseLinear([1.0, 0.0], [0.0] * 3, [0.0] * 3)
