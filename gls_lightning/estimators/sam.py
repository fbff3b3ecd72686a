"""Sharpness-Aware Minimization."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, LossFunction, attach, differentiate
from gls_lightning.estimators.step import Reducer, Step


class SAM(GradientEstimator):
    """Sharpness-Aware Minimization (Foret et al., 2020; paper, App. D.3).

    The gradient at ``w + rho * g / ||g||``, where ``g`` is the gradient at the parameters ``w``. The reported loss and
    metrics are those at the parameters that were reached.

    Args:
        rho: Length of the ascent step. The callback ``AdaptiveRho`` may change it in training.
        norm: ``global`` divides by the norm of the whole gradient, as in the paper; ``per_tensor`` each tensor by its
            own norm, which makes the step longer by about the square root of the number of tensors.

    Attributes:
        initial_rho: The length that was configured. The current one is the 0-dim buffer ``rho``, a function of the
            training step alone, therefore not part of checkpoints.

    Raises:
        ConfigurationError: If ``rho`` is negative or not finite, or ``norm`` is neither.
    """

    rho: Tensor

    def __init__(self, *, rho: float = 0.01, norm: Literal["global", "per_tensor"] = "global") -> None:
        super().__init__()
        if not (math.isfinite(rho) and rho >= 0):
            raise ConfigurationError(f"rho is {rho}; it must be finite and not negative")
        if norm not in ("global", "per_tensor"):
            raise ConfigurationError(f"norm is {norm!r}; it must be 'global' or 'per_tensor'")
        self.initial_rho = rho
        self.norm = norm
        self.register_buffer("rho", torch.tensor(rho, dtype=torch.float32), persistent=False)

    @property
    def scheduled(self) -> Mapping[str, float]:
        """The length of the ascent step."""
        return {"rho": self.initial_rho}

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
        """The gradient over its norm; shorter than 1 where the squares in the norm underflow."""
        whole = torch.nn.utils.get_total_norm(list(gradients.values()))

        def unit(gradient: Tensor) -> Tensor:
            norm = whole if self.norm == "global" else gradient.norm()
            return gradient / norm.clamp_min(torch.finfo(gradient.dtype).tiny ** 0.5).to(gradient)

        return {name: unit(gradient) for name, gradient in gradients.items()}


def _reduced(gradients: dict[str, Tensor], reduce: Reducer) -> dict[str, Tensor]:
    """The sum over the processes, in one exchange."""
    together = reduce(torch.cat([gradient.flatten() for gradient in gradients.values()]))
    parts = together.split([gradient.numel() for gradient in gradients.values()])
    return {name: part.view_as(g).to(g) for (name, g), part in zip(gradients.items(), parts, strict=True)}
