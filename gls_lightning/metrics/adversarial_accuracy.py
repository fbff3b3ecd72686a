"""Adversarial accuracy as a metric."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from gls_lightning.arguments import Radius, component
from gls_lightning.attacks import PGD, Attack, margin
from gls_lightning.batches import LabelledImages, in_precision_of, require_values
from gls_lightning.bounds import Box
from gls_lightning.metrics._robust_accuracy import RobustAccuracy


class AdversarialAccuracy(RobustAccuracy):
    """The fraction of images that are classified correctly, and still are after an attack.

    It is an upper bound of the robust accuracy. Any network can be measured, in evaluation mode and in the precision of
    its parameters. The metric only refers to the network; see :class:`RobustAccuracy`.

    Args:
        network: Maps images in [0, 1] to logits; normalisation is part of it.
        epsilon: Radius of the boxes in the l-infinity norm, between 0 and 1.
        attack: The attack. By default PGD.
        seed: Seed of the attack's starts, which depend on it and on each image's index.
        **options: The arguments of ``torchmetrics.Metric``, for example ``process_group``.

    Raises:
        ConfigurationError: If ``epsilon`` is out of its range.

    Example:
        >>> import torch
        >>> network = nn.Linear(2, 2, bias=False)
        >>> network.weight = nn.Parameter(torch.eye(2))  # the larger pixel decides
        >>> accuracy = AdversarialAccuracy(network, epsilon=0.1)
        >>> accuracy.update(torch.tensor([[0.9, 0.1], [0.5, 0.4]]), torch.tensor([0, 0]))
        >>> accuracy.compute()
        tensor(0.5000)
    """

    def __init__(
        self, network: nn.Module, *, epsilon: Radius, attack: Attack | None = None, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(network, epsilon, **options)
        self.attack = component("attack", attack, Attack) or PGD()
        self.seed = seed

    def _count_robust(self, images: Tensor, labels: Tensor, indices: Tensor) -> int:
        images = in_precision_of(self.network.parameters(), images)
        with _evaluation_mode(self.network):
            logits = self.network(images)
            require_values(LabelledImages(images, labels, indices), "the batch", logits.shape[1])
            correct = margin(logits, labels) > 0
            images, labels, indices = images[correct], labels[correct], indices[correct]
            starts = self.attack.draw_starts(images.shape[1:], indices, self.seed, device=images.device)
            points = self.attack(self.network, *Box.around(images, self.epsilon), labels, starts)
            return int((margin(self.network(points), labels) > 0).sum())


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Puts the network into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
