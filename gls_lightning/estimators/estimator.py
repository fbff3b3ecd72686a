"""The interface of gradient estimators."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gls_lightning.estimators.step import Step

Metrics = Mapping[str, Tensor]
"""Values to report, 0-dim each."""

LossFunction = Callable[[dict[str, Tensor]], tuple[Tensor, Metrics]]
"""A pure function of a network's parameters: a 0-dim loss, and metrics.

An attribute ``members_at_once`` may say how many members of a population are best evaluated by one ``torch.func.vmap``.
"""


class Estimate(NamedTuple):
    """A loss with an estimate of its gradient attached.

    Attributes:
        loss: 0-dim; ``loss.backward()`` adds the estimate to ``.grad`` of every parameter.
        metrics: The loss's metrics, detached.
    """

    loss: Tensor
    metrics: Metrics


class GradientEstimator(nn.Module, ABC):
    """Estimates the gradient of a loss, or of a smoothed version of it.

    An estimator evaluates the loss as often as it likes, on copies: parameters are never modified. Its result is
    determined by its arguments and its buffers; random numbers come from the step alone. It sees the loss as a function
    of the parameters and nothing else, so each estimator works with every relaxation, loss and network.

    Attributes:
        needs_differentiable: Whether the loss must be differentiable in the parameters.
        population_size: Number of members that processes may share; each evaluates those that its step names.
    """

    needs_differentiable: bool = True
    population_size: int = 1

    def prepare(self, params: dict[str, Tensor]) -> None:
        """Makes the state that is learned for these parameters, so that it can be loaded; most estimators have none."""

    def start_fit(self) -> None:
        """Forgets what an earlier fit left; to be called before the first batch."""

    def after_step(self) -> None:
        """Updates what the estimator learns; to be called after each step of the optimizer."""

    @property
    def scheduled(self) -> Mapping[str, float]:
        """The configured values of what schedules may change, by the names of the 0-dim buffers that hold it."""
        return {}

    def scale(self, name: str, fraction: float) -> None:
        """Sets one of the scheduled values to a share of what was configured."""
        self.get_buffer(name).fill_(self.scheduled[name] * fraction)

    def reported(self) -> Mapping[str, Tensor]:
        """Returns what training logs of the estimator, 0-dim each, by name; nothing by default."""
        return {}

    @abstractmethod
    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """Evaluates the loss and attaches the estimate.

        Where several processes take part, each returns the means over its own members and samples; the mean over the
        processes, which is what ``DistributedDataParallel`` computes, is the estimate of the whole.

        Args:
            loss_function: The function to differentiate.
            params: The parameters by name; all of them require a gradient.
            step: Determines the random numbers, and reaches the other processes.

        Returns:
            The loss, whose gradient with respect to each entry of ``params`` is the estimate (zero where the loss
            does not depend on it), and the metrics; both are means over the members that this process evaluates.
        """


class AttachGradient(torch.autograd.Function):
    """The identity on a loss, with given gradients in place of its own."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *params: Tensor) -> Tensor:
        """A copy of ``loss`` whose gradient with respect to ``params`` is ``gradients``."""
        ctx.gradients = gradients
        return loss.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scales the gradients by what follows the loss: accumulation, loss scaling, the weight of this process."""
        (scale,) = grad_outputs
        return None, None, *(scale * gradient for gradient in ctx.gradients)


def attach(loss: Tensor, gradients: dict[str, Tensor], params: dict[str, Tensor]) -> Tensor:
    """The value of ``loss`` with ``gradients`` as its gradients with respect to ``params``."""
    result: Tensor = AttachGradient.apply(loss, [gradients[name] for name in params], *params.values())
    return result


def differentiate(loss_function: LossFunction, params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], Metrics]:
    """Loss, gradient (zeros where the loss does not depend on a parameter) and metrics at ``params``, detached."""
    loss, metrics = loss_function(params)
    gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True, materialize_grads=True)
    return (
        loss.detach(),
        dict(zip(params, gradients, strict=True)),
        {name: metric.detach() for name, metric in metrics.items()},
    )
