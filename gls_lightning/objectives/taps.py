"""TAPS."""

from math import inf

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.objectives._cut import cut_behind_relu
from gls_lightning.objectives._gradient_link import rectified_linear_link, scale_gradient
from gls_lightning.objectives.losses import certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.relaxations import Relaxation


class TAPS(RobustObjective):
    """Bounds up to a layer, attacks behind it (Mao et al., 2023, "Connecting Certified and Adversarial Training").

    The relaxation bounds the output of one ReLU by a box. For each wrong class an attack searches this latent box for
    the point where the class leads most. The cross-entropy of the margins at these points is multiplied by the
    relaxation's robust cross-entropy of the whole network (CTBench; Mao et al., 2024). ``link_threshold`` and
    ``gradient_scale`` change the gradient only, so estimators that use values alone ignore them.

    Training logs ``certified_accuracy``, the fraction that the relaxation proves, and ``latent_adversarial_accuracy``,
    the fraction still correct after the latent attacks.

    Args:
        classifier_relus: Number of ReLUs (or other activations) behind the box. For CNN7, CTBench's blocks 17 4, 13 8,
            10 11 and 4 17 are 1, 2, 3 and 5.
        latent_attack: Searches the latent box; its ``loss`` and ``targeted`` do not matter. By default as in CTBench:
            10 steps, 3 restarts and steps of 0.4, that is 2 max(0.2, 2 / steps).
        link_threshold: Share c of the box's width within which a point's gradient reaches a corner, in (0, 1].
        gradient_scale: Factor for the gradient of the attacks' cross-entropy, relative to the relaxation's.
        relaxation_multiplier: Whether to multiply by the relaxation's robust cross-entropy.
        of_batch: Whether to multiply the means over the batch, as CTBench does, instead of the losses of each sample.
            Several processes that split batches then train on another loss than one process.
        relaxation_during_ramp: Whether the loss is the relaxation's robust cross-entropy alone until the radius has
            reached its target, as in CTBench.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.

    Raises:
        ConfigurationError: If ``classifier_relus`` is negative, ``link_threshold`` is not in (0, 1], or
            ``gradient_scale`` is not positive.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.relaxations import IBP
        >>> network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> objective, graph = TAPS(classifier_relus=0), trace(network, (3,))
        >>> (starts,) = objective.draw_starts(graph, torch.arange(2), 0)
        >>> starts.shape  # restarts, samples, elements behind the ReLU
        torch.Size([3, 2, 8])
        >>> batch = Batch(torch.eye(3)[:2], torch.arange(2), torch.tensor(0.1), (starts,))
        >>> sorted(objective(graph, IBP(), network.state_dict(), batch)[1])
        ['certified_accuracy', 'latent_adversarial_accuracy', 'natural_accuracy']
    """

    proved = "certified_accuracy"

    def __init__(
        self,
        *,
        classifier_relus: int = 1,
        latent_attack: PGD | None = None,
        link_threshold: float = 0.5,
        gradient_scale: float = 4.0,
        relaxation_multiplier: bool = True,
        of_batch: bool = True,
        relaxation_during_ramp: bool = True,
        natural_weight: float = 0.0,
    ) -> None:
        super().__init__(natural_weight=natural_weight)
        require(classifier_relus >= 0, "classifier_relus", classifier_relus, "at least 0")
        require(0 < link_threshold <= 1, "link_threshold", link_threshold, "above 0 and at most 1")
        require(0 < gradient_scale < inf, "gradient_scale", gradient_scale, "a finite positive number")
        self.classifier_relus = classifier_relus
        self.latent_attack = component("latent_attack", latent_attack, PGD) or PGD(
            steps=10, restarts=3, step_size=0.4, loss="margin", step_decay="taps"
        )
        self.link_threshold = link_threshold
        self.gradient_scale = gradient_scale
        self.relaxation_multiplier = relaxation_multiplier
        self.of_batch = of_batch
        self.uses_batch_statistics = of_batch and relaxation_multiplier
        self.relaxation_during_ramp = relaxation_during_ramp

    @override
    def check(self, graph: Graph) -> None:
        self._cut(graph)

    @override
    def points_per_sample(self, graph: Graph) -> int:
        return graph.num_outputs - 1

    @override
    def draw_starts(
        self, graph: Graph, indices: Tensor, *key: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Draws the starts of the attack on the inputs, if any, and of the latent one, ``[restarts, B, *latent]``."""
        _, classifier = self._cut(graph)
        # The last number keeps the starts unrelated to those of an attack on the inputs.
        latent = self.latent_attack.draw_starts(classifier.input_shape, indices, *key, 1, device=device)
        return *super().draw_starts(graph, indices, *key, device=device), latent

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        box, metrics = self._box(graph, tensors, batch, correct)
        spec = margin_specification(batch.labels, graph.num_outputs, batch.inputs.dtype)
        lower = relaxation.margins(graph, tensors, box, batch.labels)
        metrics[self.proved] = certified_accuracy(correct, lower)
        bounded = robust_cross_entropy(lower)
        if self.relaxation_during_ramp and not batch.at_target:
            return bounded.mean(), metrics
        margins = self._latent_margins(graph, relaxation, tensors, box, batch, spec)
        metrics["latent_adversarial_accuracy"] = certified_accuracy(correct, margins)
        return self._combine(robust_cross_entropy(margins), bounded), metrics

    def _box(self, graph: Graph, tensors: Tensors, batch: Batch, correct: Tensor) -> tuple[Box, dict[str, Tensor]]:
        """Returns the inputs to bound, and metrics of the search for them."""
        return Box.around(batch.inputs, batch.epsilon), {}

    def _combine(self, sampled: Tensor, bounded: Tensor) -> Tensor:
        """Combines the attacks' cross-entropy of each sample ``[B]`` with the relaxation's ``[B]``."""
        if self.of_batch:
            sampled, bounded = sampled.mean(), bounded.mean()
        sampled = scale_gradient(sampled, self.gradient_scale)
        return (sampled * bounded if self.relaxation_multiplier else sampled).mean()

    def _latent_margins(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, box: Box, batch: Batch, spec: Tensor
    ) -> Tensor:
        """Attacks the latent box; returns the margins ``[B, K - 1]``, each where its own attack makes it smallest."""
        assert batch.starts, "the latent attack needs starts; see Objective.draw_starts"
        first, classifier = self._cut(graph)
        latent = relaxation.activation_bounds(first, tensors, box)
        points = self.latent_attack.margin_points(
            lambda z: classifier(tensors, z),
            latent.lower.detach(),
            latent.upper.detach(),
            batch.labels,
            batch.starts[-1],
            graph.num_outputs,
        )
        linked = rectified_linear_link(points, latent, self.link_threshold)
        logits = classifier(tensors, linked.flatten(0, 1))
        return (spec * logits.reshape(spec.shape)).sum(2)

    def _cut(self, graph: Graph) -> tuple[Graph, Graph]:
        return cut_behind_relu(graph, self.classifier_relus)
