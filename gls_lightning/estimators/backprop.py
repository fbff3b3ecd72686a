"""The gradient itself."""

from torch import Tensor

from gls_lightning.estimators.estimator import Estimate, GradientEstimator, LossFunction, attach, differentiate
from gls_lightning.estimators.step import Step


class Backprop(GradientEstimator):
    """The gradient of the loss by backpropagation; called GRAD in the paper. One evaluation per step."""

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """See :meth:`GradientEstimator.forward`; the step is not used."""
        loss, gradients, metrics = differentiate(loss_function, params)
        return Estimate(attach(loss, gradients, params), metrics)
