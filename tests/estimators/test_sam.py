import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import SAM, Step

STEP = Step(0, 0)


def quadratic(norm: str, rho: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """SAM's gradient of x'Ax / 2 with x in two tensors, and that by hand."""
    torch.manual_seed(0)
    a = torch.randn(6, 6, dtype=torch.double)
    a = a + a.T
    x = {"u": torch.randn(2, 2, dtype=torch.double), "v": torch.randn(2, dtype=torch.double)}
    x = {name: part.requires_grad_() for name, part in x.items()}

    def objective(p):
        joint = torch.cat([part.flatten() for part in p.values()])
        return joint @ a @ joint / 2, {}

    SAM(rho=rho, norm=norm)(objective, x, STEP).loss.backward()
    joint = torch.cat([part.detach().flatten() for part in x.values()])
    ascent = a @ joint
    parts = [ascent] if norm == "global" else [ascent[:4], ascent[4:]]
    reached = joint + rho * torch.cat([part / part.square().sum().sqrt() for part in parts])
    expected = a @ reached
    return {name: part.grad for name, part in x.items()}, {"u": expected[:4].view(2, 2), "v": expected[4:]}


@pytest.mark.parametrize("norm", ["global", "per_tensor"])
@pytest.mark.parametrize("rho", [0.0, 0.25])
def test_exact_on_a_quadratic(norm, rho):
    found, expected = quadratic(norm, rho)
    # rho is a float32 buffer, and 0.25 is exact in it
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_norms_differ():
    assert not torch.allclose(quadratic("global", 0.25)[0]["u"], quadratic("per_tensor", 0.25)[0]["u"])


def steps(function, *tensors: torch.Tensor, **options) -> list[torch.Tensor]:
    """The ascent step of each tensor; checks that the loss is evaluated twice, first at the parameters."""
    params, seen = {str(i): tensor.clone().requires_grad_() for i, tensor in enumerate(tensors)}, []

    def objective(p):
        seen.append([tensor.detach().clone() for tensor in p.values()])
        return function(*p.values()), {}

    SAM(**options)(objective, params, STEP).loss.backward()
    first, second = seen
    assert all(torch.equal(a, b) for a, b in zip(first, tensors, strict=True))
    assert all(p.grad.isfinite().all() for p in params.values())
    return [after - before for before, after in zip(first, second, strict=True)]


@pytest.mark.parametrize("norm", ["global", "per_tensor"])
def test_zero_gradient_is_finite(norm):
    x = torch.zeros(3)
    estimate = SAM(norm=norm)(lambda p: (p["x"].square().sum(), {}), {"x": x.requires_grad_()}, STEP)
    estimate.loss.backward()
    assert torch.equal(x.grad, torch.zeros(3))
    assert estimate.loss == 0


def test_a_tensor_without_a_gradient_stays_where_it_is():
    still, moved = steps(lambda a, b: b.sum() + 0 * a.sum(), torch.ones(2), torch.ones(4), rho=0.5, norm="per_tensor")
    assert torch.equal(still, torch.zeros(2))
    torch.testing.assert_close(moved, torch.full((4,), 0.25))


def test_global_step_has_length_rho_and_per_tensor_steps_have_it_each():
    a, b = torch.randn(3, dtype=torch.double), torch.randn(2, 2, dtype=torch.double)

    def function(a, b):
        return a.sin().sum() + 3 * b.square().sum()

    whole = steps(function, a, b, rho=0.5)
    assert sum(step.square().sum() for step in whole).sqrt().item() == pytest.approx(0.5)
    for step in steps(function, a, b, rho=0.5, norm="per_tensor"):
        assert step.norm().item() == pytest.approx(0.5)


@settings(max_examples=60, deadline=None)
@given(
    exponent=st.floats(-44, 37),
    norm=st.sampled_from(["global", "per_tensor"]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_no_step_is_longer_than_rho_however_small_or_large_the_gradient(exponent, norm, dtype):
    # the square of a small float32 is zero: a norm of zero must not make the step long
    slope = torch.tensor(10**exponent, dtype=dtype)
    (step,) = steps(lambda x: (slope * x).sum(), torch.zeros(3, dtype=dtype), rho=0.5, norm=norm)
    assert step.double().norm() <= 0.5 * 1.01


def test_rho_may_change_and_is_not_part_of_checkpoints():
    estimator, x = SAM(rho=0.5), torch.ones(1, dtype=torch.double, requires_grad=True)
    for rho in (0.5, 0.25):
        estimator.rho.fill_(rho)
        (gradient,) = torch.autograd.grad(estimator(lambda p: (p["x"].square().sum(), {}), {"x": x}, STEP).loss, x)
        assert gradient.item() == pytest.approx(2 * (1 + rho))
    assert estimator.schedulable == {"rho": 0.5}
    assert estimator.state_dict() == {}


def test_reports_the_loss_at_the_parameters_that_were_reached():
    x = torch.ones(1, requires_grad=True)
    loss, metrics = SAM(rho=0.5)(lambda p: (p["x"].square().sum(), {"x": p["x"].sum()}), {"x": x}, STEP)
    assert loss.item() == pytest.approx(2.25)
    assert metrics["x"].item() == pytest.approx(1.5)


def test_blind_to_a_threshold():
    # appendix D.3: a single gradient sees nothing of the step ahead
    x = torch.tensor([0.1], requires_grad=True)
    SAM(rho=0.05)(lambda p: ((p["x"] > 0).float().sum() + 0 * p["x"].sum(), {}), {"x": x}, STEP).loss.backward()
    assert x.grad == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_of_every_parameter(dtype):
    other = torch.ones(2, dtype=torch.float64, requires_grad=True)
    params, dtypes = {"x": torch.ones(3, dtype=dtype, requires_grad=True), "other": other}, []

    def objective(p):
        dtypes.append([tensor.dtype for tensor in p.values()])
        return p["x"].sum().double() * p["other"].sum(), {}

    SAM()(objective, params, STEP).loss.backward()
    assert dtypes == [[dtype, torch.float64]] * 2
    assert params["x"].grad.dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": -0.1}, "rho is -0.1; it must be finite and not negative"),
        ({"rho": math.inf}, "rho is inf"),
        ({"rho": math.nan}, "rho is nan"),
        ({"norm": "l2"}, "norm is 'l2'; it must be global or per_tensor"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        SAM(**arguments)
