"""Backpropagation."""

from torch import Tensor

from gls_lightning.estimators.estimator import Estimate, GradientEstimator, attach
from gls_lightning.estimators.evaluation import LossFunction, differentiate
from gls_lightning.estimators.step import Step


class Backprop(GradientEstimator):
    """The gradient of the loss itself, called GRAD in the paper; one evaluation per step.

    Example:
        >>> import torch
        >>> params = {"w": torch.tensor(3.0, requires_grad=True)}
        >>> estimate = Backprop()(lambda params: (params["w"] ** 2, {}), params, Step(seed=0, batch=0))
        >>> estimate.loss.backward()
        >>> estimate.loss.item(), params["w"].grad.item()
        (9.0, 6.0)
    """

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """See :meth:`GradientEstimator.forward`; the step is not used."""
        loss, gradients, metrics = differentiate(loss_function, params)
        return Estimate(attach(loss, gradients, params), metrics)
