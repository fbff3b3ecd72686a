"""The common part of the metrics of robustness."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from gls_lightning.arguments import Radius, component, read_radius, warn_of_large_radius
from gls_lightning.batches import read_batch, require_values
from gls_lightning.certification import without_tf32


class RobustAccuracy(Metric):
    """The fraction of images around which a network is judged robust.

    Each update uses the network's weights of that moment. The metric only refers to the network: it is not among the
    metric's parameters or in its ``state_dict``, and does not move with the metric. A copy of the metric measures the
    same network; if network and metric are copied together, the network first, it measures the copy. A pickled metric
    holds its network.

    Args:
        network: Maps images in [0, 1] to logits; normalisation is part of it.
        epsilon: Radius of the perturbations in the l-infinity norm, between 0 and 1.
        **options: Those of ``torchmetrics.Metric``, for example ``process_group``.

    Raises:
        ConfigurationError: If ``epsilon`` is out of its range.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    robust: Tensor
    total: Tensor

    def __init__(self, network: nn.Module, epsilon: Radius, **options: Any) -> None:
        super().__init__(**options)
        epsilon = read_radius(epsilon)
        warn_of_large_radius(epsilon)
        component("network", network, nn.Module)
        self._borrowed = _Borrowed(network)
        self.epsilon = epsilon
        self.add_state("robust", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        # A MetricCollection updates one of several metrics whose states are equal after the first batch, in place of
        # all: wrong for two radii. NaN equals nothing.
        self.add_state("never_equal", torch.tensor(torch.nan), dist_reduce_fx="sum")

    @property
    def network(self) -> nn.Module:
        """The network that is measured."""
        return self._borrowed.network

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Counts a batch as :meth:`update` does; returns the accuracy of this batch alone, 0-dim."""
        if indices is None:  # torchmetrics sets the count to 0 for the batch
            indices = self._next_indices(len(images))
        accuracy: Tensor = super().forward(images, labels, indices)
        return accuracy

    def update(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Counts a batch.

        Args:
            images: Images in [0, 1], ``[B, *input]``, floating-point numbers.
            labels: Their classes, counted from 0, ``[B]``, integers.
            indices: Their indices in the data set, ``[B]``; the starts of an attack depend on them. By default the
                images are numbered in the order of the updates, from 0 after each reset.

        Raises:
            ConfigurationError: If images, labels or indices are something else, or do not fit each other or the
                network.
        """
        if len(images) == 0:
            return
        if indices is None:
            indices = self._next_indices(len(images))
        batch = read_batch((images, labels, indices), "the batch")
        require_values(batch, "the batch")
        autocast_off = torch.autocast(images.device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), autocast_off, without_tf32():
            # Autograd, on which an attack may depend, refuses the tensors of inference mode; hence the copies.
            robust = self._count_robust(*(part.clone() for part in batch if part is not None))
            self.robust = self.robust + robust
            self.total = self.total + len(images)

    def compute(self) -> Tensor:
        """Returns the accuracy over all counted images, 0-dim; NaN if there are none."""
        return self.robust / self.total

    @abstractmethod
    def _count_robust(self, images: Tensor, labels: Tensor, indices: Tensor) -> int:
        """Counts the images around which the network is robust."""

    def _next_indices(self, number: int) -> Tensor:
        return torch.arange(number) + self.total.item()


@dataclass(frozen=True)
class _Borrowed:
    """A reference to a network, which keeps it out of the metric's submodules and copies."""

    network: nn.Module

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(memo.get(id(self.network), self.network))
