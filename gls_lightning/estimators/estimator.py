"""The interface of gradient estimators."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gls_lightning.estimators.evaluation import LossFunction, Metrics
from gls_lightning.estimators.step import Step
from gls_lightning.private_names import of_torch


class Estimate(NamedTuple):
    """A loss with an estimate of its gradient attached.

    Attributes:
        loss: 0-dim; ``loss.backward()`` adds the estimate to ``.grad`` of every parameter.
        metrics: The loss's metrics, detached.
    """

    loss: Tensor
    metrics: Metrics


class GradientEstimator(nn.Module, ABC):
    """An estimate of the gradient of a loss, or of a smoothed version of it.

    An estimator implements :meth:`forward`; the other methods do nothing unless it overrides them. It sees the loss as
    a function of the parameters and nothing else, so it works with every relaxation, loss and network. Two rules make
    the result independent of the number of processes, and a resumed run the same as an uninterrupted one:

    - Parameters are never modified. The loss is evaluated, as often as the estimator likes, on copies.
    - The result depends on the arguments and the buffers alone. Random numbers come from the step.

    Attributes:
        needs_differentiable: True if the loss must be differentiable in the parameters.
        population_size: Number of perturbed copies of the parameters, the members, that processes may divide among
            them; each evaluates those that ``step.members`` names.
        schedulable: What schedules may change during a fit: the configured values by the names of their buffers.
    """

    needs_differentiable: bool = True
    population_size: int = 1

    def __init__(self) -> None:
        super().__init__()
        self.schedulable: dict[str, float] = {}

    def register_schedulable(self, name: str, value: float) -> None:
        """Keeps a value in a 0-dim buffer that schedules may change.

        They do so as a function of the training step alone, so the buffer is not part of checkpoints.

        Args:
            name: Name of the buffer, and of the schedule: ``sigma`` is what ``SigmaDecay`` changes, ``rho`` what
                ``AdaptiveRho`` does.
            value: The configured value.
        """
        self.schedulable[name] = value
        self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)

    def scale(self, name: str, fraction: float) -> None:
        """Sets a schedulable value to a fraction of what was configured, without waiting for the device."""
        self.get_buffer(name).fill_(self.schedulable[name] * fraction)

    def reported(self) -> Metrics:
        """Returns what training logs of the estimator, by name; nothing by default."""
        return {}

    def prepare(self, params: dict[str, Tensor]) -> None:
        """Makes the buffers that are learned for these parameters, so that a checkpoint can be loaded into them."""

    def start_fit(self) -> None:
        """Forgets what an earlier fit left; called before the first batch."""

    def after_step(self) -> None:
        """Updates what the estimator learns; called after each step of the optimizer."""

    @abstractmethod
    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """Evaluates the loss and attaches the estimate.

        Args:
            loss_function: The function to differentiate.
            params: The parameters by name; all of them require a gradient.
            step: The source of random numbers, and the way to the other processes.

        Returns:
            The loss, whose gradient with respect to each entry of ``params`` is the estimate (zeros where the loss
            does not depend on it), and the metrics. Both are means over the members that this process evaluates;
            ``DistributedDataParallel`` then takes the mean over the processes.
        """


class AttachGradient(torch.autograd.Function):
    """The identity on a loss, with given gradients in place of its own."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *params: Tensor) -> Tensor:
        """Returns a copy of ``loss`` whose gradient with respect to ``params`` is ``gradients``."""
        ctx.gradients = gradients
        return loss.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scales the gradients by what follows the loss: accumulation, loss scaling, the weight of this process."""
        (scale,) = grad_outputs
        return None, None, *of_torch.scaled(ctx.gradients, scale)


def attach(loss: Tensor, gradients: dict[str, Tensor], params: dict[str, Tensor]) -> Tensor:
    """Returns the value of ``loss`` with ``gradients`` as its gradients with respect to ``params``.

    Example:
        >>> params = {"x": torch.zeros(2, requires_grad=True)}
        >>> loss = attach(torch.tensor(7.0), {"x": torch.tensor([1.0, 2.0])}, params)
        >>> loss.backward()
        >>> loss.item(), params["x"].grad
        (7.0, tensor([1., 2.]))
    """
    result: Tensor = AttachGradient.apply(loss, [gradients[name] for name in params], *params.values())
    return result
