import pytest
import torch
from torch import nn

from gls_lightning.errors import ConfigurationError
from gls_lightning.optimizers import ClipUp


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]


def step(optimizer: ClipUp, params: list[nn.Parameter], gradients: list[list[float]]) -> list[float]:
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = torch.tensor(gradient)
    optimizer.step()
    return torch.cat([p.detach().flatten() for p in params]).tolist()


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_the_first_step_has_the_length_of_the_learning_rate(scale: float) -> None:
    params = parameters()
    moved = step(ClipUp(params, lr=0.5), params, [[2 * scale, 2 * scale], [1 * scale]])
    assert moved == pytest.approx([-1 / 3, -1 / 3, -1 / 6])


def test_momentum_and_the_limit_of_speed() -> None:
    params = parameters()
    optimizer = ClipUp(params, lr=0.1, momentum=0.5, max_speed=0.12)
    assert step(optimizer, params, [[1.0, 0.0], [0.0]]) == pytest.approx([-0.1, 0, 0])
    # 0.5 * 0.1 + 0.1 = 0.15, cut to 0.12
    assert step(optimizer, params, [[3.0, 0.0], [0.0]]) == pytest.approx([-0.22, 0, 0])
    # 0.5 * 0.12 = 0.06 along the first axis, 0.1 along the third; length 0.1166 is within the limit
    assert step(optimizer, params, [[0.0, 0.0], [7.0]]) == pytest.approx([-0.28, 0, -0.1])


def test_the_limit_is_twice_the_learning_rate_by_default() -> None:
    params = parameters()
    optimizer = ClipUp(params, lr=0.1)
    for _ in range(50):
        before = params[0][0].item()
        step(optimizer, params, [[1.0, 0.0], [0.0]])
    assert before - params[0][0].item() == pytest.approx(0.2)


def test_no_gradient_moves_nothing_and_stays_finite() -> None:
    params = parameters()
    optimizer = ClipUp(params, lr=0.1)
    optimizer.step()
    assert step(optimizer, params, [[0.0, 0.0], [0.0]]) == [0, 0, 0]


def test_a_learning_rate_of_zero_stands_still_and_can_rise_again() -> None:
    params = parameters()
    optimizer = ClipUp(params, lr=0.1)
    for lr in (0.0, 0.0):
        optimizer.param_groups[0]["lr"] = lr
        assert step(optimizer, params, [[1.0, 0.0], [0.0]]) == [0, 0, 0]
    optimizer.param_groups[0]["lr"] = 0.1
    assert step(optimizer, params, [[1.0, 0.0], [0.0]]) == pytest.approx([-0.1, 0, 0])


def test_finds_the_minimum_of_a_quadratic() -> None:
    x = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = ClipUp([x], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    for _ in range(400):
        optimizer.zero_grad()
        optimizer.step(lambda: (1e-6 * x.square().sum()).backward())
        schedule.step()
    assert x.abs().max() < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"lr": 0.0}, "lr is 0.0"), ({"momentum": 1.0}, "momentum is 1.0"), ({"max_speed": -1.0}, "max_speed is -1.0")],
)
def test_bad_settings_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ClipUp(parameters(), **arguments)
