"""A network with the parts that bound it, as callbacks and commands see the module that is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from gls_lightning.arguments import component
from gls_lightning.batches import DeferredValues, read_batch, reading_waits, require_values
from gls_lightning.bounds import Graph, OpaqueGraph, UnsupportedOperationError, trace
from gls_lightning.certification import without_tf32
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import GradientEstimator
from gls_lightning.objectives import Batch, Objective, Regularizer
from gls_lightning.private_names import of_torch
from gls_lightning.relaxations import Relaxation
from gls_lightning.schedules import Constant, Schedule
from gls_lightning.training.loss import TrainingLoss, parameter_names


class BoundedNetwork(LightningModule):
    """A network, its relaxation and objective, and the loss of a batch; without steps and optimizers.

    ``CertifiedTrainingModule`` adds these. What works with any training of a bounded network, such as the callbacks of
    this package, asks for this class.

    Args:
        network: Maps images in [0, 1] to logits; normalisation is part of it.
        epsilon: Target radius of the perturbations in the l-infinity norm.
        relaxation: How the network is bounded.
        objective: What is minimised.
        estimator: How the gradient of the loss is estimated.
        regularizers: What training adds to the objective.
        seed: Seed of the perturbations and of the attacks' starts.

    Attributes:
        current_epsilon: The radius that training uses now, a 0-dim buffer; a function of the training step alone,
            therefore not part of checkpoints.
        epsilon_schedule: The share of ``epsilon`` that each training step uses; callbacks set it for a fit.
        estimator_schedules: Likewise for the values that the estimator lets be scheduled, by their names; without one
            they stay as they are.
        deferred_values: What checks of batches have noted on a GPU, read where metrics are.
    """

    current_epsilon: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        epsilon: float,
        relaxation: Relaxation,
        objective: Objective,
        estimator: GradientEstimator,
        regularizers: Sequence[Regularizer] = (),
        seed: int = 0,
    ) -> None:
        if component("network", network, nn.Module) is None:
            raise ConfigurationError("network is None; it must be an object of a class derived from torch.nn.Module")
        super().__init__()
        self.network = network
        self.relaxation = relaxation
        self.objective = objective
        self.estimator = estimator
        self.regularizers = list(regularizers)
        self.epsilon = epsilon
        self.seed = seed
        self.register_buffer("current_epsilon", torch.tensor(epsilon), persistent=False)
        self.epsilon_schedule: Schedule = Constant()
        self.estimator_schedules: dict[str, Schedule] = {}
        self.deferred_values = DeferredValues()
        self._graph: Graph | None = None
        self.estimator.prepare(self.trainable_parameters())

    def forward(self, inputs: Tensor) -> Tensor:
        """Computes the logits ``[B, K]`` of images ``[B, *input]``."""
        logits: Tensor = self.network(inputs)
        return logits

    @property
    def graph(self) -> Graph:
        """The traced network.

        Raises:
            ConfigurationError: The shape of the images is not known yet.
        """
        if self._graph is None:
            raise ConfigurationError("the network is not traced: give input_shape, or call trace(input_shape)")
        return self._graph

    @property
    def is_traced(self) -> bool:
        """True once there is a graph."""
        return self._graph is not None

    @property
    def has_batch_norm(self) -> bool:
        """True where a layer is BatchNorm; known before the network is traced."""
        return any(isinstance(module, of_torch.BatchNorm) for module in self.network.modules())

    def trace(self, input_shape: Sequence[int]) -> None:
        """Finds the operations of the network for images of this shape.

        Raises:
            ConfigurationError: The network has a layer that cannot be bounded, and the relaxation needs to know it.
        """
        try:
            self._graph = trace(self.network, input_shape)
        except UnsupportedOperationError as error:
            if self.relaxation.needs_graph:
                raise
            self._graph = OpaqueGraph(self.network, input_shape, error)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the network's parameters and buffers by name, as the graph takes them."""
        parameters = self.network.named_parameters(remove_duplicate=False)
        return {**dict(parameters), **dict(self.network.named_buffers(remove_duplicate=False))}

    def trainable_parameters(self) -> dict[str, Tensor]:
        """Returns the parameters that the optimizer changes, by their names in this module."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def loss_of(self, batch: Batch) -> TrainingLoss:
        """Returns the loss of a batch that training differentiates, as a function of the trainable parameters."""
        tensors = self.tensors()
        names = parameter_names(self, tensors)
        return TrainingLoss(self.graph, self.relaxation, self.objective, tensors, names, batch, self.regularizers)

    def epsilon_fraction(self, step: int) -> float:
        """Returns the share of the target radius that a training step uses."""
        return self.epsilon_schedule.fraction(step)

    def follow_schedules(self, step: int) -> float:
        """Sets the radius and the estimator's scheduled values of a training step.

        Args:
            step: Number of batches before this one in the whole run.

        Returns:
            The share of the target radius; 1 for a radius of 0, which nothing anneals.
        """
        fraction = self.epsilon_fraction(step)
        self.current_epsilon.fill_(self.epsilon * fraction)
        for name, schedule in self.estimator_schedules.items():
            self.estimator.scale(name, schedule.fraction(step))
        return fraction if self.epsilon else 1.0

    @contextmanager
    def evaluation(
        self, batch: Sequence[Tensor], batch_idx: int, split: str = "test", *, deferrable: bool = False
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Gives images, labels and indices of a batch, within what evaluating them needs: no gradients, full precision.

        Args:
            batch: The batch.
            batch_idx: Its number.
            split: Where it comes from, for messages: ``train``, ``val`` or ``test``.
            deferrable: Whether a GPU may note bad values for later, in place of waiting for it.

        Raises:
            ConfigurationError: The batch is no batch of labelled images for this network.
        """
        with torch.inference_mode(False), torch.no_grad(), self.full_precision(), without_tf32():
            yield self.read(batch, batch_idx, split, deferrable=deferrable)

    def full_precision(self) -> torch.autocast:
        """Switches autocast off: bounds and perturbations do not survive the rounding of half precision."""
        return torch.autocast(self.device.type, enabled=False)

    def read(
        self, batch: Sequence[Tensor], batch_idx: int, split: str, *, deferrable: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Checks a batch, and returns its images, labels and indices; see :meth:`evaluation`."""
        place = f"{split} batch {batch_idx}"
        read = read_batch(batch, place, self.graph.input_shape if self.is_traced else None)
        if not self.is_traced:
            self.trace(read.images.shape[1:])
            self.check_traced()
        if deferrable and reading_waits(read.images):
            read = self.deferred_values.note(read, place, self.graph.num_outputs)
        else:
            require_values(read, place, self.graph.num_outputs)
        inputs, labels, indices = read
        if indices is None:
            indices = _numbered(len(labels), batch_idx, labels.device)
        # Autograd, on which attacks depend, refuses the tensors of inference mode.
        return inputs.clone() if inputs.is_inference() else inputs, labels.clone(), indices

    def drawing_indices(self, batch: Sequence[Tensor], batch_idx: int, indices: Tensor) -> Tensor:
        """Returns the indices of a batch that was read, on the CPU if they can be had there without waiting for a GPU.

        Args:
            batch: The batch as it came.
            batch_idx: Its number.
            indices: What :meth:`read` returned.
        """
        if not reading_waits(indices):
            return indices
        if len(batch) == 2:
            return _numbered(len(indices), batch_idx, torch.device("cpu"))
        given = batch[2]
        return indices if reading_waits(given) else given.to(torch.int64).clamp(min=0)

    def check_traced(self) -> None:
        """Refuses a network that was traced at the first batch and does not suit the run; derived classes know how."""


def _numbered(number: int, batch_idx: int, device: torch.device) -> Tensor:
    """Returns indices that no other image of the epoch has, whatever the sizes of the batches."""
    return torch.arange(number, device=device) + (batch_idx << 32)


def bounded_network(callback: Callback, module: LightningModule) -> BoundedNetwork:
    """Returns the module as the class whose members the callback needs.

    Raises:
        ConfigurationError: The module is another one.
    """
    if not isinstance(module, BoundedNetwork):
        raise ConfigurationError(
            f"{type(callback).__name__} works with a CertifiedTrainingModule, not with {type(module).__name__}"
        )
    return module
