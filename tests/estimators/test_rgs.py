import math

import pytest
import torch

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Step


def estimates(function, x: torch.Tensor, sigma: float, samples: int, population_size: int = 2) -> torch.Tensor:
    """Independent estimates of the gradient at ``x``, [samples, *x]."""
    estimator, x = RGS(population_size=population_size, sigma=sigma), x.double().clone().requires_grad_()
    losses = [estimator(lambda p: (function(p["x"]), {}), {"x": x}, Step(0, batch)).loss for batch in range(samples)]
    return torch.stack([torch.autograd.grad(loss, x)[0] for loss in losses])


def assert_mean(samples: torch.Tensor, expected: torch.Tensor) -> None:
    standard_error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - expected).abs() <= 5 * standard_error).all()


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


GRID = torch.linspace(-0.9, 0.9, 7, dtype=torch.double)


def test_unbiased_on_a_quadratic():
    torch.manual_seed(0)
    a, x = torch.randn(5, 5, dtype=torch.double), torch.randn(5, dtype=torch.double)
    assert_mean(estimates(lambda x: x @ a @ x, x, sigma=0.5, samples=500), (a + a.T) @ x)


def test_unbiased_on_the_absolute_value():
    # the smoothed |x| has the slope P(x + e > 0) - P(x + e < 0) = erf(x / (sigma sqrt 2))
    assert_mean(estimates(lambda x: x.abs().sum(), GRID, sigma=0.5, samples=500), torch.erf(GRID / 0.5 / math.sqrt(2)))


def test_unbiased_on_a_continuous_piecewise_linear_function():
    # slope 1 below -1, -2 between, 3 above 1: two local minima of f, smoothed by the normal distribution function
    def function(x):
        return (x - 3 * (x + 1).relu() + 5 * (x - 1).relu()).sum()

    expected = 1 - 3 * normal_cdf((GRID + 1) / 0.4) + 5 * normal_cdf((GRID - 1) / 0.4)
    assert_mean(estimates(function, GRID, sigma=0.4, samples=500), expected)


def test_smooths_the_loss_value_too():
    estimator, x = RGS(population_size=2000, sigma=0.5), torch.zeros(1, dtype=torch.double, requires_grad=True)
    loss = estimator(lambda p: (p["x"].abs().sum(), {}), {"x": x}, Step(0, 0)).loss
    deviation = 0.5 * math.sqrt(1 - 2 / math.pi)
    assert abs(loss.item() - 0.5 * math.sqrt(2 / math.pi)) < 5 * deviation / math.sqrt(2000)


def test_blind_to_the_jumps_of_a_step_function():
    # the limitation of appendix B.3: the smoothed loss has a slope here, RGS sees none
    steps = estimates(lambda x: x.floor().sum(), GRID, sigma=0.5, samples=20)
    assert torch.equal(steps, torch.zeros_like(steps))
    both = estimates(lambda x: (x.floor() + 2 * x).sum(), GRID, sigma=0.5, samples=20)
    torch.testing.assert_close(both, torch.full_like(both, 2))


def test_variance_falls_with_the_population_size():
    # gradient of x^2 is 2 (x + e): variance 4 sigma^2 / n
    for population_size in (1, 2, 8):
        samples = estimates(lambda x: x.square().sum(), torch.zeros(50), 0.5, 40, population_size).flatten()
        expected = 4 * 0.25 / population_size
        assert abs(samples.var() - expected) < 5 * expected * math.sqrt(2 / len(samples))


def test_sigma_zero_is_the_gradient_itself():
    assert torch.equal(estimates(lambda x: x.square().sum(), GRID, sigma=0.0, samples=1)[0], 2 * GRID)


def perturbations(estimator: RGS, step: Step) -> torch.Tensor:
    x, seen = torch.zeros(6, requires_grad=True), []
    estimator(lambda p: (seen.append(p["x"].detach()) or p["x"].sum(), {}), {"x": x}, step)
    return torch.stack(seen)


def test_members_and_batches_are_perturbed_independently():
    estimator = RGS(population_size=3, sigma=1.0)
    seen = torch.cat([perturbations(estimator, Step(seed, batch)) for seed in range(2) for batch in range(2)])
    assert len(seen.unique(dim=0)) == 12


def test_sigma_scales_the_same_noise():
    estimator = RGS(sigma=1.0)
    noise = perturbations(estimator, Step(0, 0))
    estimator.sigma.fill_(0.25)
    torch.testing.assert_close(perturbations(estimator, Step(0, 0)), 0.25 * noise)
    assert estimator.schedulable == {"sigma": 1.0}


def test_antithetic_members_come_in_pairs_with_opposite_noise_and_pairs_are_independent():
    noise = perturbations(RGS(population_size=6, sigma=1.0, antithetic=True), Step(0, 0))
    assert torch.equal(noise[::2], -noise[1::2])
    assert len(noise[::2].unique()) == 3 * 6


def test_an_antithetic_pair_is_exact_on_a_quadratic():
    estimator, x = RGS(sigma=0.5, antithetic=True), GRID.clone().requires_grad_()
    estimator(lambda p: (p["x"].square().sum(), {}), {"x": x}, Step(0, 0)).loss.backward()
    torch.testing.assert_close(x.grad, 2 * GRID)


def test_relative_sigma_scales_the_noise_by_the_root_mean_square_of_each_tensor():
    noise, seen = perturbations(RGS(sigma=0.25), Step(0, 0)), []
    params = {"x": torch.tensor([3.0, -3, 3, 3, -3, 3]), "zero": torch.zeros(4)}
    estimator = RGS(sigma=0.25, relative_sigma=True)
    params = {name: p.requires_grad_() for name, p in params.items()}
    estimator(lambda p: (seen.append(dict(p)) or p["x"].sum(), {}), params, Step(0, 0))
    torch.testing.assert_close(torch.stack([p["x"].detach() for p in seen]), params["x"].detach() + 3 * noise)
    assert not any(p["zero"].any() for p in seen)


def test_a_tensor_below_the_smallest_scale_gets_its_noise():
    estimator, seen = RGS(sigma=0.25, relative_sigma=True, smallest_scale=0.1), []
    params = {"x": torch.full((6,), 3.0, requires_grad=True), "zero": torch.zeros(6, requires_grad=True)}
    estimator(lambda p: (seen.append(dict(p)) or p["x"].sum(), {}), params, Step(0, 0))
    noise = torch.cat([(p["x"].detach() - 3) / (0.25 * 3) for p in seen])
    assert noise.abs().max() < 5
    assert 0.005 < torch.cat([p["zero"].detach() for p in seen]).std() < 0.1  # 0.25 * 0.1
    equal = RGS(sigma=0.25, relative_sigma=True, smallest_scale=3.0)
    both = []
    equal(lambda p: (both.append(dict(p)) or p["x"].sum(), {}), params, Step(0, 0))
    for first, second in zip(seen, both, strict=True):
        assert torch.equal(first["x"], second["x"])
        torch.testing.assert_close(second["zero"].detach(), 30 * first["zero"].detach())


def test_relative_sigma_follows_the_parameters_from_step_to_step():
    estimator = RGS(population_size=1, sigma=0.25, relative_sigma=True)

    def noise(size: float) -> torch.Tensor:
        x, seen = torch.full((6,), size, requires_grad=True), []
        estimator(lambda p: (seen.append(p["x"].detach()) or p["x"].sum(), {}), {"x": x}, Step(0, 0))
        return seen[0] - size

    torch.testing.assert_close(noise(4.0), 4 * noise(1.0), rtol=1e-5, atol=1e-6)


def test_a_parameter_keeps_its_noise_when_another_is_added_behind_it():
    x, y = torch.zeros(6, requires_grad=True), torch.zeros(3, requires_grad=True)
    seen = []
    RGS(sigma=1.0)(lambda p: (seen.append(p["x"].detach()) or p["x"].sum(), {}), {"x": x, "y": y}, Step(0, 0))
    assert torch.equal(torch.stack(seen), perturbations(RGS(sigma=1.0), Step(0, 0)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_of_every_parameter(dtype):
    params = {"x": torch.ones(3, dtype=dtype, requires_grad=True), "s": torch.ones((), dtype=dtype, requires_grad=True)}
    dtypes = []

    def objective(p):
        dtypes.extend(t.dtype for t in p.values())
        return p["x"].sum() * p["s"], {}

    RGS()(objective, params, Step(0, 0)).loss.backward()
    assert set(dtypes) == {dtype}
    assert all(p.grad.dtype == dtype for p in params.values())


def test_sigma_is_not_part_of_checkpoints():
    assert RGS().state_dict() == {}


def test_a_population_that_the_processes_cannot_share_is_refused():
    with pytest.raises(ConfigurationError, match="population_size is 3"):
        RGS(population_size=3)(lambda p: (p["x"].sum(), {}), {"x": torch.ones(1, requires_grad=True)}, Step(0, 0, 1, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 0}, "population_size is 0"),
        ({"sigma": -0.1}, "sigma is -0.1"),
        ({"sigma": math.inf}, "sigma is inf"),
        ({"sigma": math.nan}, "sigma is nan"),
        (
            {"smallest_scale": -0.1, "relative_sigma": True},
            "smallest_scale is -0.1; it must be finite and not negative",
        ),
        ({"smallest_scale": 0.1}, "smallest_scale is 0.1; it must be 0 without relative_sigma"),
        ({"population_size": 3, "antithetic": True}, "population_size is 3; it must be even for antithetic pairs"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        RGS(**arguments)
