"""Statistics of an estimator: the variance of its estimates, and their angle to the gradient."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.estimators import GradientEstimator, LossFunction, Step, differentiate


class GradientStatistics(NamedTuple):
    """Statistics of several estimates of one gradient, each a 0-dim tensor.

    Attributes:
        relative_variance: Trace of the covariance over the squared norm of the mean. Both are unbiased: the squared
            norm of the mean of n estimates is on average too large by 1/n of the trace, which is subtracted. Infinite
            if nothing remains, because so few estimates do not tell the mean from the noise; NaN if all are 0.
        cosine: Mean cosine of the angle between an estimate and the gradient; NaN if one of them is 0. None without a
            gradient.
        norm: Euclidean norm of the gradient. None without a gradient.
    """

    relative_variance: Tensor
    cosine: Tensor | None
    norm: Tensor | None


def gradient_statistics(
    estimator: GradientEstimator,
    objective: LossFunction,
    params: dict[str, Tensor],
    steps: Sequence[Step],
    differentiable: bool = True,
) -> GradientStatistics:
    """Evaluates a copy of an estimator several times at the same parameters.

    Args:
        estimator: The estimator; it is not changed.
        objective: The function to differentiate.
        params: The parameters by name; they are not changed.
        steps: At least two training steps; each determines the random numbers of one estimate.
        differentiable: Whether the objective has a gradient to compare with.

    Example:
        >>> from gls_lightning.estimators import Backprop
        >>> params, steps = {"w": torch.tensor([3.0, 4.0])}, [Step(seed=0, batch=batch) for batch in range(5)]
        >>> found = gradient_statistics(Backprop(), lambda params: (params["w"].square().sum() / 2, {}), params, steps)
        >>> found.relative_variance.item(), round(found.cosine.item(), 6), found.norm.item()
        (0.0, 1.0, 5.0)
    """
    estimator = deepcopy(estimator)
    gradient = _gradient(objective, params) if differentiable else None
    mean, scatter, cosines = torch.zeros(()), torch.zeros(()), []
    for number, step in enumerate(steps, 1):
        estimate = _gradient(partial(estimator, objective, step=step), params)
        change = estimate - mean  # Welford's recurrence, exact where all estimates are the same
        mean = mean + change / number
        scatter = scatter + change @ (estimate - mean)
        if gradient is not None:
            cosines.append(estimate @ gradient / (estimate.norm() * gradient.norm()))
    trace = scatter / (len(steps) - 1)
    squared_norm = mean.square().sum() - trace / len(steps)
    return GradientStatistics(
        trace / squared_norm.clamp_min(0),
        torch.stack(cosines).mean() if cosines else None,
        None if gradient is None else gradient.norm(),
    )


def _gradient(objective: LossFunction, params: dict[str, Tensor]) -> Tensor:
    """Computes the gradient with respect to all parameters together, float64 ``[d]``."""
    with torch.enable_grad():
        _, gradients, _ = differentiate(objective, {name: p.detach().requires_grad_() for name, p in params.items()})
    return torch.cat([gradient.flatten() for gradient in gradients.values()]).double()
