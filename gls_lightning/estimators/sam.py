"""Sharpness-Aware Minimization."""

from math import inf
from typing import Literal

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, attach
from gls_lightning.estimators.evaluation import LossFunction, differentiate
from gls_lightning.estimators.step import Reducer, Step


class SAM(GradientEstimator):
    """Sharpness-Aware Minimization (Foret et al., 2020; paper, App. D.3).

    The gradient at ``w + rho * g / ||g||``, where ``g`` is the gradient at the parameters ``w``: an ascent step of
    length ``rho`` goes to weights nearby where the loss is high. The reported loss and metrics are those there.

    Args:
        rho: Length of the ascent step. ``AdaptiveRho`` may change it in training; the buffer ``rho``, 0-dim, holds the
            current one.
        norm: ``global`` divides by the norm of the whole gradient, as in the paper; ``per_tensor`` divides each tensor
            by its own norm, which makes the step longer by about the square root of the number of tensors.

    Raises:
        ConfigurationError: ``rho`` is negative or not finite, or ``norm`` is neither of the two.

    Example:
        The gradient of ``x^2`` at 1 is 2, that half a unit uphill is 3.

        >>> from gls_lightning.estimators import Step
        >>> params = {"x": torch.tensor(1.0, requires_grad=True)}
        >>> loss, metrics = SAM(rho=0.5)(lambda p: (p["x"].square(), {}), params, Step(seed=0, batch=0))
        >>> loss.backward()
        >>> params["x"].grad
        tensor(3.)
    """

    rho: Tensor

    def __init__(self, *, rho: float = 0.01, norm: Literal["global", "per_tensor"] = "global") -> None:
        super().__init__()
        require(0 <= rho < inf, "rho", rho, "finite and not negative")
        require(norm in ("global", "per_tensor"), "norm", norm, "global or per_tensor")
        self.norm = norm
        self.register_schedulable("rho", rho)

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """See :meth:`GradientEstimator.forward`; the step draws nothing."""
        _, ascent, _ = differentiate(loss_function, params)
        reached = {
            name: (params[name].detach() + self.rho.to(direction) * direction).requires_grad_()
            for name, direction in self._directions(_reduced(ascent, step.reduce)).items()
        }
        loss, gradients, metrics = differentiate(loss_function, reached)
        return Estimate(attach(loss, gradients, params), metrics)

    def _directions(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the gradient over its norm; shorter than 1 where the squares in the norm underflow."""
        whole = torch.nn.utils.get_total_norm(list(gradients.values()))

        def unit(gradient: Tensor) -> Tensor:
            norm = whole if self.norm == "global" else gradient.norm()
            return gradient / norm.clamp_min(torch.finfo(gradient.dtype).tiny ** 0.5).to(gradient)

        return {name: unit(gradient) for name, gradient in gradients.items()}


def _reduced(gradients: dict[str, Tensor], reduce: Reducer) -> dict[str, Tensor]:
    """Returns the sum over the processes, in one exchange."""
    together = reduce(torch.cat([gradient.flatten() for gradient in gradients.values()]))
    parts = together.split([gradient.numel() for gradient in gradients.values()])
    return {name: part.view_as(g).to(g) for (name, g), part in zip(gradients.items(), parts, strict=True)}
