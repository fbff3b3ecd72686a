"""The interface of objectives."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.relaxations import Relaxation


class Batch(NamedTuple):
    """What an objective is evaluated on.

    Attributes:
        inputs: Inputs in [0, 1], ``[B, *input]``.
        labels: True classes, ``[B]``, int64.
        epsilon: Current perturbation radius, 0-dim.
        starts: Random starts of each attack that the objective runs, from :meth:`Objective.draw_starts`.
        progress: Share of the target radius that ``epsilon`` is; below 1 while the radius is annealed.
    """

    inputs: Tensor
    labels: Tensor
    epsilon: Tensor
    starts: tuple[Tensor, ...] = ()
    progress: float = 1.0


class Objective(ABC):
    """A loss, as a pure function of a network's tensors and a batch.

    It changes no module, buffer or ``.grad``, draws no random numbers and does not ask whether the network is in
    training, so that an estimator may evaluate it anywhere, any number of times, under ``torch.no_grad`` or
    ``torch.func.vmap``.

    Attributes:
        uses_relaxation: Whether the objective bounds the network; only then do the relaxation's flags matter.
        attack: The attack on the inputs that the objective runs, if any.
        uses_batch_statistics: Whether the loss is no mean over samples; processes that share out a batch then do not
            train on the loss of the whole one.
    """

    uses_relaxation: bool = True
    attack: Attack | None = None
    uses_batch_statistics: bool = False

    @abstractmethod
    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluates the objective.

        Args:
            graph: The network.
            relaxation: How to bound it.
            tensors: The network's parameters and buffers, with the statistics that BatchNorm is to use.
            batch: The samples.

        Returns:
            The loss, and metrics for the log; 0-dim each.
        """

    def check(self, graph: Graph) -> None:  # noqa: B027
        """Refuses, before training starts, a network that the objective cannot be evaluated on.

        Raises:
            ConfigurationError: The network does not suit the objective.
        """

    def points_per_sample(self, graph: Graph) -> int:
        """At how many points for each sample the network is evaluated at once."""
        return 1

    def draw_starts(
        self, graph: Graph, indices: Tensor, *key: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """The starts of each attack; see :meth:`gls_lightning.attacks.Attack.draw_starts`. Empty without an attack."""
        if self.attack is None:
            return ()
        return (self.attack.draw_starts(graph.input_shape, indices, *key, device=device),)
