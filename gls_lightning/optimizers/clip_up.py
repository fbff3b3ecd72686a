"""ClipUp."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from typing_extensions import override

from gls_lightning.errors import ConfigurationError


class ClipUp(Optimizer):
    """ClipUp (Toklu et al., 2020): steps of one length along the gradient, with momentum and a limit of speed.

    The velocity of all parameters together becomes ``v = clip(momentum * v + lr * g / ||g||)``, no longer than
    ``max_speed``, and the parameters move by ``-v``. The scale of the gradient does not matter, which suits PGPE.

    Args:
        params: The parameters, or groups of them; each group has a gradient, velocity and speed of its own.
        lr: Length of the step before momentum.
        momentum: What remains of the velocity, at least 0 and below 1.
        max_speed: The largest length of the velocity; by default twice ``lr``, as the authors advise.

    Raises:
        ConfigurationError: An argument is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.9,
        max_speed: float | None = None,
    ) -> None:
        if not lr > 0:
            raise ConfigurationError(f"lr is {lr}; it must be positive")
        if not 0 <= momentum < 1:
            raise ConfigurationError(f"momentum is {momentum}; it must be at least 0 and below 1")
        if max_speed is not None and not max_speed > 0:
            raise ConfigurationError(f"max_speed is {max_speed}; it must be positive, or null for twice lr")
        super().__init__(params, {"lr": lr, "momentum": momentum, "max_speed": max_speed})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves the parameters; returns what ``closure`` does, if it is given."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._move(params, group)
        return loss

    def _move(self, params: list[Tensor], group: dict[str, Any]) -> None:
        length = get_total_norm([p.grad for p in params if p.grad is not None])
        velocities = [self.state[p].setdefault("velocity", torch.zeros_like(p)) for p in params]
        for p, velocity in zip(params, velocities, strict=True):
            assert p.grad is not None
            velocity.mul_(group["momentum"]).add_(_over(p.grad, length), alpha=group["lr"])
        max_speed = group["max_speed"] or 2 * group["lr"]
        speed = get_total_norm(velocities)
        slower = (max_speed / speed.clamp_min(torch.finfo(speed.dtype).tiny)).clamp(max=1)
        for p, velocity in zip(params, velocities, strict=True):
            p.sub_(velocity.mul_(slower.to(velocity)))


def _over(gradient: Tensor, length: Tensor) -> Tensor:
    return gradient / length.to(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
