"""Small boxes around adversarial points."""

from typing import Literal, get_args

from torch import Tensor

from gls_lightning.arguments import component
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives.losses import adversarial_accuracy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import adversarial_points

SmallRadius = Literal["half_width", "epsilon"]


class SmallBoxes:
    """Small boxes around adversarial points (Mueller et al., 2023, "Certified Training: Small Boxes are All You Need").

    Args:
        attack: Finds the points. By default PGD of 10 steps of 0.2 and 3 restarts, as CTBench trains SABR.
        subselection_ratio: Lambda, the radius of a small box as a share of the whole one's.
        radius: What it is a share of: each coordinate's "half_width" of the whole box, which ends at 0 and 1 (CTBench),
            or "epsilon" (the authors' code).

    Raises:
        ConfigurationError: If ``subselection_ratio`` is not in [0, 1], or ``radius`` is unknown.
    """

    def __init__(self, attack: Attack | None, subselection_ratio: float, radius: SmallRadius) -> None:
        if not 0 <= subselection_ratio <= 1:
            raise ConfigurationError(f"subselection_ratio is {subselection_ratio}; it must lie between 0 and 1")
        if radius not in get_args(SmallRadius):
            raise ConfigurationError(f"radius is {radius!r}; it must be one of {', '.join(get_args(SmallRadius))}")
        self.attack = component("attack", attack, Attack) or PGD(steps=10, restarts=3, step_size=0.2)
        self.subselection_ratio = subselection_ratio
        self.radius: SmallRadius = radius

    def around(self, points: Tensor, whole: Box, epsilon: Tensor) -> Box:
        """The small boxes inside the whole ones that are nearest to having ``points [B, *input]`` as centres.

        Where a whole box, cut off at 0 or 1, is narrower than the small one would be, both are the same. (The authors'
        code reaches beyond the ball there if the cut is at 1.)
        """
        radius = self.subselection_ratio * (whole.radius if self.radius == "half_width" else epsilon)
        centre = points.clamp(whole.lower + radius, whole.upper - radius)
        return Box(centre - radius, centre + radius).intersection(whole)

    def find(self, graph: Graph, tensors: Tensors, batch: Batch, correct: Tensor) -> tuple[Box, dict[str, Tensor]]:
        """Attacks the network; the small boxes, and the metric ``adversarial_accuracy``."""
        whole = Box.around(batch.inputs, batch.epsilon)
        points = adversarial_points(self.attack, graph, tensors, whole, batch)
        logits = graph(tensors, points)
        return self.around(points, whole, batch.epsilon), {
            "adversarial_accuracy": adversarial_accuracy(correct, logits, batch.labels)
        }
