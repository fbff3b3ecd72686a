"""Certified accuracy as a metric."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gls_lightning.arguments import Radius, component
from gls_lightning.bounds import Graph, trace
from gls_lightning.certification import Certifier, Verdict
from gls_lightning.errors import ConfigurationError
from gls_lightning.metrics._robust_accuracy import RobustAccuracy


class CertifiedAccuracy(RobustAccuracy):
    """The fraction of images that are proved to be classified correctly in their whole box, clipped to [0, 1].

    It is a lower bound of the robust accuracy, for the network in evaluation mode and in float64. The metric only
    refers to the network; see :class:`RobustAccuracy`.

    Args:
        network: Maps images in [0, 1] to logits by operations that can be bounded; normalisation is part of it.
        epsilon: Radius of the boxes in the l-infinity norm, between 0 and 1.
        certifier: Finds the proofs. By default IBP, CROWN-IBP and DeepPoly, without an attack.
        input_shape: Shape of one image; if given, the network is traced at once. By default the shape in the first
            batch.
        **options: The arguments of ``torchmetrics.Metric``, for example ``process_group``.

    Raises:
        ConfigurationError: If ``epsilon`` is out of its range, or the network contains an operation that cannot be
            bounded.

    Example:
        >>> import torch
        >>> network = nn.Linear(2, 2, bias=False)
        >>> network.weight = nn.Parameter(torch.eye(2))  # the larger pixel decides
        >>> accuracy = CertifiedAccuracy(network, epsilon="1/10")
        >>> accuracy.update(torch.tensor([[0.9, 0.1], [0.5, 0.4]]), torch.tensor([0, 0]))
        >>> accuracy.compute()
        tensor(0.5000)
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        epsilon: Radius,
        certifier: Certifier | None = None,
        input_shape: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, epsilon, **options)
        self.certifier = component("certifier", certifier, Certifier) or Certifier(use_attack=False)
        self._graph = None if input_shape is None else trace(network, input_shape)

    def _count_robust(self, images: Tensor, labels: Tensor, indices: Tensor) -> int:
        graph = self._graph_for(images)
        tensors = {
            **dict(self.network.named_parameters(remove_duplicate=False)),
            **dict(self.network.named_buffers(remove_duplicate=False)),
        }
        records = self.certifier.decide(graph, tensors, images, labels, indices, self.epsilon)
        return sum(record.verdict is Verdict.CERTIFIED for record in records)

    def _graph_for(self, images: Tensor) -> Graph:
        shape = images.shape[1:]
        if self._graph is None:
            self._graph = trace(self.network, shape)
        if self._graph.input_shape != shape:
            expected = tuple(self._graph.input_shape)
            raise ConfigurationError(f"images are of shape {tuple(shape)}; they must be of shape {expected}")
        return self._graph
