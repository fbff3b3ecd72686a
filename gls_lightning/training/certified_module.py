"""What the callbacks need of the module that is trained."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from gls_lightning.bounds import Graph
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import GradientEstimator
from gls_lightning.objectives import Batch, Objective
from gls_lightning.relaxations import Relaxation
from gls_lightning.schedules import Schedules
from gls_lightning.training.loss import TrainingLoss

_PARTS = (
    *("network", "relaxation", "objective", "estimator", "epsilon", "current_epsilon", "schedules", "seed"),
    *("tensors", "loss_of", "evaluation"),
)
ACCURACIES = ("natural_accuracy", "certified_accuracy", "adversarial_accuracy")
"""How certified training measures a network, each a fraction of all images."""


class CertifiedModule(Protocol):
    """The parts of a ``CertifiedTrainingModule`` that callbacks read; any LightningModule with them will do.

    Attributes:
        network: The network.
        relaxation: How the network is bounded.
        objective: What is minimised.
        estimator: The gradient estimator.
        epsilon: The target radius.
        current_epsilon: The radius that training uses, a 0-dim buffer.
        schedules: What the radius and values of the estimator follow.
        seed: The run's seed.
    """

    network: nn.Module
    relaxation: Relaxation
    objective: Objective
    estimator: GradientEstimator
    epsilon: float
    current_epsilon: Tensor
    schedules: Schedules
    seed: int

    @property
    def graph(self) -> Graph:
        """The traced network."""

    def tensors(self) -> dict[str, Tensor]:
        """The network's parameters and buffers."""

    def loss_of(self, batch: Batch) -> TrainingLoss:
        """The loss that training differentiates."""

    def evaluation(
        self, batch: Sequence[Tensor], batch_idx: int, split: str = "test", *, deferrable: bool = False
    ) -> AbstractContextManager[tuple[Tensor, Tensor, Tensor]]:
        """Images, labels and indices of a batch, in full precision and without gradients."""


def certified_module(callback: Callback, module: LightningModule) -> CertifiedModule:
    """The module as what the callback needs.

    Raises:
        ConfigurationError: The module is another one.
    """
    if not all(hasattr(module, name) for name in _PARTS):
        raise ConfigurationError(
            f"{type(callback).__name__} works with a CertifiedTrainingModule, not with {type(module).__name__}"
        )
    return module  # type: ignore[return-value]
