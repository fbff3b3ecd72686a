"""What the callbacks need of the module that is trained."""

from typing import Protocol

from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from gls_lightning.bounds import Graph
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import GradientEstimator

ACCURACIES = ("natural_accuracy", "certified_accuracy", "adversarial_accuracy")
"""How certified training measures a network, each a fraction of all images."""


class CertifiedModule(Protocol):
    """The parts of a ``CertifiedTrainingModule`` that callbacks read; any LightningModule with them will do.

    Attributes:
        network: The network.
        estimator: The gradient estimator.
        epsilon: The target radius.
        current_epsilon: The radius that training uses, a 0-dim buffer.
        seed: The run's seed.
    """

    network: nn.Module
    estimator: GradientEstimator
    epsilon: float
    current_epsilon: Tensor
    seed: int

    @property
    def graph(self) -> Graph:
        """The traced network."""

    def tensors(self) -> dict[str, Tensor]:
        """The network's parameters and buffers."""


def certified_module(callback: Callback, module: LightningModule) -> CertifiedModule:
    """The module as what the callback needs.

    Raises:
        ConfigurationError: The module is another one.
    """
    if not all(hasattr(module, name) for name in ("network", "estimator", "epsilon", "current_epsilon", "tensors")):
        raise ConfigurationError(
            f"{type(callback).__name__} works with a CertifiedTrainingModule, not with {type(module).__name__}"
        )
    return module  # type: ignore[return-value]
