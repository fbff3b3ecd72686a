"""An estimator with two values that schedules may change, which schedules.yaml imports."""

from collections.abc import Mapping

from torch import Tensor

from gls_lightning.estimators import SAM, Estimate, LossFunction, Step, standard_normal

Metrics = Mapping[str, Tensor]


class NoisySAM(SAM):
    """SAM at perturbed parameters; reports rho and sigma.

    Args:
        rho: Length of the ascent step.
        sigma: Standard deviation of the perturbation.
    """

    def __init__(self, *, rho: float = 0.01, sigma: float = 1e-3) -> None:
        super().__init__(rho=rho)
        self.register_schedulable("sigma", sigma)

    def reported(self) -> Metrics:
        return {"sigma": self.sigma, "rho": self.rho}

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        noise = standard_normal(params, step, member=0)

        def perturbed(copy: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
            return loss_function({name: p + self.sigma * noise[name] for name, p in copy.items()})

        return super().forward(perturbed, params, step)
