"""Statistics of gradient estimates against closed forms."""

from math import inf, isnan, sqrt

import pytest
import torch
from torch import Tensor

from gls_lightning.diagnostics import GradientStatistics, gradient_statistics
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop, Estimate, GradientEstimator, Step, attach


class Given(GradientEstimator):
    """Gives one of some gradients, by the number of the batch."""

    def __init__(self, *gradients: list[float]) -> None:
        super().__init__()
        self.gradients = gradients

    def forward(self, objective, params: dict[str, Tensor], step: Step) -> Estimate:
        gradient = {"x": torch.tensor(self.gradients[step.batch])}
        return Estimate(attach(torch.zeros(()), gradient, params), {})


def steps_of(number: int) -> list[Step]:
    return [Step(0, batch) for batch in range(number)]


def linear(*slopes: float):
    return lambda params: (params["x"] @ torch.tensor(slopes), {})


def of_given(*gradients: list[float]) -> GradientStatistics:
    return gradient_statistics(Given(*gradients), linear(4.0, 3.0), {"x": torch.zeros(2)}, steps_of(len(gradients)))


def test_three_estimates_by_hand() -> None:
    """The mean is (2, 2/3), the deviations' squares sum to 14/3."""
    found = of_given([1.0, 0.0], [3.0, 0.0], [2.0, 2.0])
    trace, squared_norm = 7 / 3, 40 / 9
    assert found.relative_variance.item() == pytest.approx(trace / (squared_norm - trace / 3))
    assert found.cosine.item() == pytest.approx((0.8 + 0.8 + 1.4 / sqrt(2)) / 3)
    assert found.norm.item() == 5


def test_infinite_where_the_mean_cannot_be_told_from_noise() -> None:
    assert of_given([1.0, 0.0], [-1.0, 0.0]).relative_variance == inf


def test_no_number_where_there_is_no_gradient() -> None:
    found = of_given([0.0, 0.0], [0.0, 0.0])
    assert isnan(found.relative_variance)
    assert isnan(found.cosine)


@pytest.fixture
def params() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"matrix": torch.randn(10, 3, dtype=torch.double), "vector": torch.randn(10, dtype=torch.double)}


def joined(params: dict[str, Tensor]) -> Tensor:
    return torch.cat([params["matrix"].flatten(), params["vector"]])


CURVATURE = torch.randn(40, 40, dtype=torch.double, generator=torch.Generator().manual_seed(1))
CURVATURE = CURVATURE + CURVATURE.T


def quadratic(params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    theta = joined(params)
    return theta @ CURVATURE @ theta / 2, {}


def test_the_variance_of_rgs_on_a_quadratic(params: dict[str, Tensor]) -> None:
    """The estimate is A theta plus the mean of n vectors sigma A e, whose covariance is sigma^2 A A^T / n."""
    found = gradient_statistics(RGS(population_size=4, sigma=0.5), quadratic, params, steps_of(300))
    gradient = CURVATURE @ joined(params)
    expected = 0.5**2 * CURVATURE.square().sum() / 4 / gradient.square().sum()
    assert found.relative_variance.item() == pytest.approx(expected.item(), rel=0.1)
    assert found.norm.item() == pytest.approx(gradient.norm().item())
    assert found.cosine.item() == pytest.approx(1 / sqrt(1 + expected.item()), rel=0.05)


@pytest.mark.parametrize("estimator", [Backprop(), SAM(rho=0.1)], ids=["Backprop", "SAM"])
def test_without_random_numbers_nothing_varies(estimator: GradientEstimator, params: dict[str, Tensor]) -> None:
    found = gradient_statistics(estimator, quadratic, params, steps_of(3))
    assert found.relative_variance == 0
    if isinstance(estimator, Backprop):
        assert found.cosine.item() == pytest.approx(1, abs=1e-12)
    else:
        assert found.cosine < 1 - 1e-6


def test_the_directions_of_pgpe_are_few() -> None:
    """With n pairs the variance on a linear function is (d + 1) / n, though there are fewer estimates than that."""
    d, pairs = 600, 3
    slopes = torch.randn(d, generator=torch.Generator().manual_seed(2))
    estimator = PGPE(population_size=2 * pairs, initial_sigma=0.1)
    found = gradient_statistics(estimator, linear(*slopes.tolist()), {"x": torch.zeros(d)}, steps_of(80))
    assert found.relative_variance.item() == pytest.approx((d + 1) / pairs, rel=0.35)
    assert found.cosine.item() == pytest.approx(sqrt(pairs / d), rel=0.15)


def test_without_gradient_there_is_a_variance_alone(params: dict[str, Tensor]) -> None:
    def steps(params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        assert not torch.is_grad_enabled()
        return joined(params).ceil().sum(), {}

    found = gradient_statistics(PGPE(population_size=8), steps, params, steps_of(4), differentiable=False)
    assert found.relative_variance > 0
    assert found.cosine is None
    assert found.norm is None


def test_estimator_and_parameters_stay_as_they_are(params: dict[str, Tensor]) -> None:
    estimator = PGPE(population_size=8, initial_sigma=0.1)
    estimator.prepare(params)
    params = {name: parameter.requires_grad_() for name, parameter in params.items()}
    estimator(quadratic, params, Step(5, 0))  # which waits for the optimizer's step
    before = {name: gradient.clone() for name, gradient in estimator._sigma_gradients.items()}
    with torch.no_grad():
        gradient_statistics(estimator, quadratic, params, steps_of(3))
    assert all(torch.equal(estimator._sigma_gradients[name], gradient) for name, gradient in before.items())
    assert estimator._batches == 1
    assert all(parameter.grad is None for parameter in params.values())
