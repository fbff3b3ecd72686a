"""The objective of one batch as a function of the trainable parameters alone."""

from collections.abc import Mapping

from torch import Tensor, nn

from gls_lightning.bounds import Graph
from gls_lightning.objectives import Batch, Objective
from gls_lightning.relaxations import Relaxation


class TrainingLoss:
    """What an estimator differentiates: batch, radius, relaxation and fixed tensors are closed over.

    BatchNorm sees the statistics of this batch under the parameters that the loss is called with.

    Args:
        graph: The network.
        relaxation: How it is bounded.
        objective: What is minimised.
        tensors: The network's parameters and buffers by the graph's names.
        names: The names under which the trainable ones among them are passed, by the graph's names.
        batch: The samples.
    """

    def __init__(
        self,
        graph: Graph,
        relaxation: Relaxation,
        objective: Objective,
        tensors: Mapping[str, Tensor],
        names: Mapping[str, str],
        batch: Batch,
    ) -> None:
        self.graph = graph
        self.relaxation = relaxation
        self.objective = objective
        self.tensors = tensors
        self.names = names
        self.batch = batch

    def __call__(self, params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss at these parameters, and metrics."""
        tensors = {**self.tensors, **{name: params[own] for name, own in self.names.items()}}
        tensors |= self.graph.batch_statistics(tensors, self.batch.inputs)
        return self.objective(self.graph, self.relaxation, tensors, self.batch)

    @property
    def members_at_once(self) -> int:
        """How many members of a population one ``torch.func.vmap`` should take; a rule of device and sizes alone."""
        if self.objective.uses_relaxation and not self.relaxation.vectorisable:
            return 1
        inputs = self.batch.inputs
        samples = _SAMPLES_AT_ONCE.get(inputs.device.type, _SAMPLES_ON_ACCELERATORS)
        if self.objective.uses_relaxation:
            rows = self.graph.num_outputs - 1
            samples = min(samples, self.relaxation.samples_in_memory(self.graph, self.tensors, rows))
        return max(1, samples // len(inputs))


_SAMPLES_AT_ONCE = {"cpu": 64}
"""Samples of all members together beyond which a loop is faster: convolutions become grouped (see benchmarks/)."""

_SAMPLES_ON_ACCELERATORS = 2**14


def parameter_names(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The names in ``module`` of the trainable parameters among ``tensors``, by the names there."""
    names = {id(p): name for name, p in module.named_parameters()}
    return {name: names[id(p)] for name, p in tensors.items() if p.requires_grad}
