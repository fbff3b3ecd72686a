"""ClipUp."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from typing_extensions import override

from gls_lightning.arguments import require


class ClipUp(Optimizer):
    """ClipUp (Toklu et al., 2020): steps of one length along the gradient, with momentum and a limit of the velocity.

    The velocity of all parameters together becomes ``v = clip(momentum * v + lr * g / ||g||)``, clipped to the length
    ``max_speed``, and the parameters move by ``-v``. The scale of the gradient does not matter, which suits PGPE.

    Args:
        params: The parameters, or groups of them; each group has a gradient, velocity and speed of its own.
        lr: Length of the step before momentum.
        momentum: Share of the velocity that is kept in each step, at least 0 and below 1.
        max_speed: The largest length of the velocity; by default twice ``lr``, as the authors advise.

    Raises:
        ConfigurationError: An argument is out of its range.

    Example:
        >>> weights = torch.zeros(2, requires_grad=True)
        >>> optimizer = ClipUp([weights], lr=0.1)
        >>> (weights @ torch.tensor([300.0, 400.0])).backward()
        >>> optimizer.step()
        >>> weights
        tensor([-0.0600, -0.0800], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.9,
        max_speed: float | None = None,
    ) -> None:
        require(lr > 0, "lr", lr, "positive")
        require(0 <= momentum < 1, "momentum", momentum, "at least 0 and below 1")
        require(max_speed is None or max_speed > 0, "max_speed", max_speed, "positive, or null for twice lr")
        super().__init__(params, {"lr": lr, "momentum": momentum, "max_speed": max_speed})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves the parameters; returns the result of ``closure``, if there is one."""
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
