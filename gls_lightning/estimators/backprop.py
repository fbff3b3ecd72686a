"""The gradient itself."""

from torch import Tensor

from gls_lightning.estimators.estimator import Estimate, GradientEstimator, Objective, attach, differentiate
from gls_lightning.estimators.key import Key


class Backprop(GradientEstimator):
    """The gradient of the objective by backpropagation; called GRAD in the paper. One evaluation per step."""

    def forward(self, objective: Objective, params: dict[str, Tensor], key: Key) -> Estimate:
        """See :meth:`GradientEstimator.forward`; the key is not used."""
        loss, gradients, metrics = differentiate(objective, params)
        return Estimate(attach(loss, gradients, params), metrics)
