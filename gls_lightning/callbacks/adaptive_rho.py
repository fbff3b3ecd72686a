"""The schedule of SAM's ascent step."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.callbacks.epsilon_annealing import ramps_of
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import SAM
from gls_lightning.training import certified_module


class AdaptiveRho(Callback):
    """Shortens SAM's ascent step as the radius grows: rho is ``rho0 * (1 - 0.99 * epsilon / target)``.

    That is CTBench's adaptive option (Mao et al., 2024). It is a function of the training step, so nothing needs to be
    saved.

    Raises:
        ConfigurationError: When training starts: the estimator is not SAM.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a step to shorten."""
        self._estimator(pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets the length of this batch's step."""
        estimator = self._estimator(pl_module)
        # Not read from the module, whose radius another callback may set later.
        ramps = ramps_of(trainer)
        module = certified_module(self, pl_module)
        radius = module.epsilon * ramps[-1].current_fraction(trainer) if ramps else module.current_epsilon.item()
        estimator.rho.fill_(estimator.initial_rho * (1 - 0.99 * radius / module.epsilon))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the configured length."""
        estimator = self._estimator(pl_module)
        estimator.rho.fill_(estimator.initial_rho)

    def _estimator(self, pl_module: LightningModule) -> SAM:
        estimator = certified_module(self, pl_module).estimator
        if not isinstance(estimator, SAM):
            raise ConfigurationError(f"AdaptiveRho needs the estimator SAM, not {type(estimator).__name__}")
        return estimator
