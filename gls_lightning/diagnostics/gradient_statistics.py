"""How far an estimator's single estimate is from its mean, and from the gradient."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.estimators import GradientEstimator, LossFunction, Step, differentiate


class GradientStatistics(NamedTuple):
    """What several estimates of one gradient are like; 0-dim each.

    Attributes:
        relative_variance: Trace of the covariance over the squared norm of the mean, both without bias: the squared
            norm of the mean of n estimates is larger by 1/n of the trace on average, which is taken off. Infinite where
            nothing is left of it, as so few estimates do not tell the mean from the noise; NaN where all are 0.
        cosine: Mean cosine of the angle between an estimate and the gradient; NaN where one is 0. None without
            gradient.
        norm: Euclidean norm of the gradient. None without gradient.
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
        estimator: The estimator, which is not changed.
        objective: The function to differentiate.
        params: The parameters by name; not changed either.
        steps: Each determines the random numbers of one estimate; at least two.
        differentiable: Whether the objective has a gradient to compare with.
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
    """The gradient with respect to all parameters together, float64 ``[d]``."""
    with torch.enable_grad():
        _, gradients, _ = differentiate(objective, {name: p.detach().requires_grad_() for name, p in params.items()})
    return torch.cat([gradient.flatten() for gradient in gradients.values()]).double()
