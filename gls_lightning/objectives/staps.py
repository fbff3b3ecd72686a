"""STAPS."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives._small_boxes import SmallBoxes, SmallRadius
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.taps import TAPS


class STAPS(TAPS):
    """TAPS on the small boxes of SABR (Mao et al., 2023); SABR alone until the radius has reached its target.

    Training logs ``adversarial_accuracy``, and for the small boxes ``small_box_certified_accuracy`` and
    ``latent_adversarial_accuracy``.

    Args:
        attack: Finds the adversarial points. By default PGD of 10 steps of 0.2 and 3 restarts, as CTBench trains SABR.
        subselection_ratio: Lambda, the radius of a small box as a share of the whole one's.
        radius: The whole radius in this ratio: "half_width", that of the box cut off at 0 and 1, in each coordinate
            (CTBench), or "epsilon" (the authors' code). Small boxes never leave the whole box.
        **options: The arguments of :class:`TAPS`.
    """

    attack: Attack
    proved = "small_box_certified_accuracy"

    def __init__(
        self,
        *,
        attack: Attack | None = None,
        subselection_ratio: float = 0.4,
        radius: SmallRadius = "half_width",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.small_boxes = SmallBoxes(attack, subselection_ratio, radius)
        self.attack = self.small_boxes.attack

    @override
    def _box(self, graph: Graph, tensors: Tensors, batch: Batch, correct: Tensor) -> tuple[Box, dict[str, Tensor]]:
        return self.small_boxes.find(graph, tensors, batch, correct)
