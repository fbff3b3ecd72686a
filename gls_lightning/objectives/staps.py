"""STAPS."""

from torch import Tensor
from typing_extensions import override

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.small_boxes import SmallBoxes, SmallRadius
from gls_lightning.objectives.taps import TAPS


class STAPS(TAPS):
    """TAPS on the small boxes of SABR (Mao et al., 2023); SABR alone until the radius has reached its target.

    Training logs ``adversarial_accuracy``, and of the small boxes ``small_box_certified_accuracy`` and
    ``latent_adversarial_accuracy``.

    Args:
        attack: Finds the adversarial points. By default PGD of 10 steps of 0.2 and 3 restarts, as CTBench trains SABR.
        subselection_ratio: Lambda, the radius of a small box as a share of the whole one's.
        radius: What it is a share of: each coordinate's "half_width" of the whole box, which ends at 0 and 1 (CTBench),
            or "epsilon" (the authors' code), never reaching out of the whole box.
        classifier_relus: How many ReLUs, or other activations, stand behind the layer at which TAPS attacks.
        latent_attack: Searches the box at the layer; its ``loss`` and ``targeted`` do not matter. By default as in
            CTBench: 10 steps, 3 restarts and steps of 0.4, that is 2 max(0.2, 2 / steps).
        link_threshold: Share c of the box's width within which a point's gradient reaches a corner, in (0, 1].
        gradient_scale: Factor for the gradient of the attacks' cross-entropy, relative to the relaxation's.
        relaxation_multiplier: Whether the loss is multiplied by the relaxation's robust cross-entropy.
        of_batch: Whether means over the batch are multiplied, as in CTBench, or the losses of each sample. With means,
            several processes that share out batches train on another loss than one process.
        relaxation_during_ramp: Whether the loss is that of SABR until the radius has reached its target, as in CTBench.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.
    """

    attack: Attack
    proved = "small_box_certified_accuracy"

    def __init__(
        self,
        *,
        attack: Attack | None = None,
        subselection_ratio: float = 0.4,
        radius: SmallRadius = "half_width",
        classifier_relus: int = 1,
        latent_attack: PGD | None = None,
        link_threshold: float = 0.5,
        gradient_scale: float = 4.0,
        relaxation_multiplier: bool = True,
        of_batch: bool = True,
        relaxation_during_ramp: bool = True,
        natural_weight: float = 0.0,
    ) -> None:
        super().__init__(
            classifier_relus=classifier_relus,
            latent_attack=latent_attack,
            link_threshold=link_threshold,
            gradient_scale=gradient_scale,
            relaxation_multiplier=relaxation_multiplier,
            of_batch=of_batch,
            relaxation_during_ramp=relaxation_during_ramp,
            natural_weight=natural_weight,
        )
        self.small_boxes = SmallBoxes(attack, subselection_ratio, radius)
        self.attack = self.small_boxes.attack

    @override
    def _box(self, graph: Graph, tensors: Tensors, batch: Batch, correct: Tensor) -> tuple[Box, dict[str, Tensor]]:
        return self.small_boxes.find(graph, tensors, batch, correct)
