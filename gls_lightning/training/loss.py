"""The objective of one batch as a function of the trainable parameters alone."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from gls_lightning.bounds import Graph
from gls_lightning.objectives import Batch, Evaluation, Objective, Regularizer
from gls_lightning.relaxations import Relaxation, gibibytes, members_together

_NOISE_OF_BUDGET = 16
"""The memory budget over what of it is left to the noise of a population."""


class TrainingLoss:
    """The function that an estimator differentiates, with batch, radius, relaxation and fixed tensors inside.

    BatchNorm sees the statistics of this batch under the parameters that the loss is called with.

    Args:
        graph: The network.
        relaxation: How it is bounded.
        objective: The objective that is minimised.
        tensors: The network's parameters and buffers by the graph's names.
        names: The names under which the trainable ones among them are passed, by the graph's names.
        batch: The samples.
        regularizers: What is added to the objective's loss, and under its name to the metrics.
    """

    def __init__(
        self,
        graph: Graph,
        relaxation: Relaxation,
        objective: Objective,
        tensors: Mapping[str, Tensor],
        names: Mapping[str, str],
        batch: Batch,
        regularizers: Sequence[Regularizer] = (),
    ) -> None:
        self.graph = graph
        self.relaxation = relaxation
        self.objective = objective
        self.tensors = tensors
        self.names = names
        self.batch = batch
        self.regularizers = regularizers

    @property
    def params(self) -> dict[str, Tensor]:
        """The present values of the trainable parameters, by the names under which they are passed; detached."""
        return {own: self.tensors[name].detach() for name, own in self.names.items()}

    def with_relaxation(self, relaxation: Relaxation) -> "TrainingLoss":
        """Returns the same loss with the network bounded by another relaxation."""
        return self._replaced(relaxation, self.batch)

    def with_batch(self, batch: Batch) -> "TrainingLoss":
        """Returns the same loss of another batch."""
        return self._replaced(self.relaxation, batch)

    def _replaced(self, relaxation: Relaxation, batch: Batch) -> "TrainingLoss":
        parts = self.objective, self.tensors, self.names, batch, self.regularizers
        return TrainingLoss(self.graph, relaxation, *parts)

    def __call__(self, params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss at these parameters, and metrics."""
        tensors = {**self.tensors, **{name: params[own] for name, own in self.names.items()}}
        batch = self.batch
        if self.graph.has_batch_norm:
            statistics, logits = self.graph.normalised_by_batch(tensors, batch.inputs)
            tensors |= statistics
            batch = batch._replace(evaluation=Evaluation(tensors, batch.inputs, logits))
        loss, metrics = self.objective(self.graph, self.relaxation, tensors, batch)
        for regularizer in self.regularizers:
            term = regularizer(self.graph, tensors, batch, self.names)
            loss = loss + term
            metrics = {**metrics, regularizer.name: metrics.get(regularizer.name, 0) + term.detach()}
        return loss, metrics

    @property
    def members_at_once(self) -> int:
        """Number of members of a population that one ``torch.func.vmap`` should take."""
        if not self.relaxation.vectorisable:
            return 1
        inputs = self.batch.inputs
        coefficients = len(inputs) * self._coefficients_per_sample()
        budget = gibibytes(self.relaxation.memory_budget, inputs.device)
        on_cpu = inputs.device.type == "cpu"
        return members_together(coefficients, budget, inputs.element_size(), on_cpu=on_cpu)

    @property
    def noise_bytes(self) -> int:
        """Bytes that the noise of a population may take for the length of a step."""
        return int(gibibytes(self.relaxation.memory_budget, self.batch.inputs.device) * 2**30) // _NOISE_OF_BUDGET

    def _coefficients_per_sample(self) -> int:
        points = self.objective.points_per_sample(self.graph) * self.graph.size
        if not self.objective.uses_relaxation:
            return points
        return max(points, self.relaxation.coefficients(self.graph, self.tensors, self.graph.num_outputs - 1))


def parameter_names(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Returns the names in ``module`` of the trainable parameters among ``tensors``, by the names there."""
    names = {id(p): name for name, p in module.named_parameters()}
    return {name: names[id(p)] for name, p in tensors.items() if p.requires_grad}
