"""The interface of objectives."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.relaxations import Relaxation


class Evaluation(NamedTuple):
    """Logits ``[B, K]`` of a network with these tensors at these inputs."""

    tensors: Tensors
    inputs: Tensor
    logits: Tensor


class Batch(NamedTuple):
    """The samples of a training step, and the radius at which they are attacked or bounded.

    Attributes:
        inputs: Images in [0, 1], ``[B, *input]``.
        labels: Their true classes, ``[B]``, int64.
        epsilon: Current radius of the perturbations, 0-dim.
        starts: Random starts of the objective's attacks, one tensor for each, from :meth:`Objective.draw_starts`.
        progress: Share of the target radius that ``epsilon`` is; below 1 while the radius is annealed. A number, or
            0-dim, float64, where the loss is recorded on a GPU.
        evaluation: What was evaluated before, as BatchNorm's statistics of this batch are found by evaluating it.
        targets: What frozen networks make of the inputs, from :meth:`Objective.targets`.
    """

    inputs: Tensor
    labels: Tensor
    epsilon: Tensor
    starts: tuple[Tensor, ...] = ()
    progress: float | Tensor = 1.0
    evaluation: Evaluation | None = None
    targets: tuple[Tensor, ...] = ()

    @property
    def at_target(self) -> bool:
        """True once the radius is the target's."""
        return not isinstance(self.progress, Tensor) and self.progress >= 1

    def logits(self, graph: Graph, tensors: Tensors) -> Tensor:
        """Returns the network's logits at the inputs, ``[B, K]``, evaluated only if they are not known."""
        known = self.evaluation
        if known is not None and known.tensors is tensors and known.inputs is self.inputs:
            return known.logits
        return graph(tensors, self.inputs)


class Objective(ABC):
    """The loss that training minimises, as a pure function of the network's tensors and a batch.

    A subclass implements ``__call__``. It reads all weights from its argument ``tensors``, so a gradient estimator can
    evaluate it at other weights too, as often as it likes, under ``torch.no_grad`` and ``torch.func.vmap``. Therefore
    an objective

    - changes no module, buffer or ``.grad``;
    - draws no random numbers: the starts of attacks come with the batch;
    - does not depend on whether the network is in training mode.

    Attributes:
        uses_relaxation: Whether the objective bounds the network. If not, any relaxation goes with any estimator.
        attack: The attack on the inputs, if the objective runs one.
        uses_batch_statistics: Whether the loss is something else than a mean over the samples. If so, processes that
            split a batch among them do not compute the loss of the whole batch.

    Example:
        Penalise every margin that is not proved to be at least 1:

        >>> from gls_lightning.bounds import Box, margin_specification, trace
        >>> from gls_lightning.relaxations import IBP
        >>> class CertifiedHinge(Objective):
        ...     def __call__(self, graph, relaxation, tensors, batch):
        ...         box = Box.around(batch.inputs, batch.epsilon)
        ...         margins = relaxation(graph, tensors, box, margin_specification(batch.labels, graph.num_outputs))
        ...         return (1 - margins).relu().sum(1).mean(), {"proved": (margins > 0).all(1).float().mean()}
        >>> network = torch.nn.Linear(3, 3, bias=False)
        >>> batch = Batch(torch.full((1, 3), 0.5), torch.tensor([0]), epsilon=torch.tensor(0.1))
        >>> tensors = {"weight": torch.diag(torch.tensor([4.0, 0.0, 0.0]))}
        >>> CertifiedHinge()(trace(network, (3,)), IBP(), tensors, batch)
        (tensor(0.), {'proved': tensor(1.)})
    """

    uses_relaxation: bool = True
    attack: Attack | None = None
    uses_batch_statistics: bool = False

    @abstractmethod
    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of a batch.

        Args:
            graph: The network; ``graph(tensors, x)`` gives its logits.
            relaxation: Bounds the network; ``relaxation(graph, tensors, box, specification)``.
            tensors: The network's parameters and buffers by name, with the statistics that BatchNorm is to use.
            batch: The samples.

        Returns:
            The loss and the metrics to log, each a 0-dim tensor.
        """

    def check(self, graph: Graph) -> None:  # noqa: B027
        """Refuses a network that the objective does not suit; called before training starts.

        Raises:
            ConfigurationError: The network does not suit the objective.
        """

    def points_per_sample(self, graph: Graph) -> int:
        """Returns the number of points per sample at which the network is evaluated at once."""
        return 1

    def targets(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns what frozen networks, such as teachers, make of inputs ``[B, *input]``; nothing by default.

        They do not depend on the network that is trained, so they are asked once a step, not at every evaluation.
        """
        return ()

    def draw_starts(
        self, graph: Graph, indices: Tensor, *key: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Draws the starts of each attack, none without one; see :meth:`gls_lightning.attacks.Attack.draw_starts`."""
        if self.attack is None:
            return ()
        return (self.attack.draw_starts(graph.input_shape, indices, *key, device=device),)
