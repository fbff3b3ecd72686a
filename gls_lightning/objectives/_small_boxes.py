"""Small boxes around adversarial points."""

from typing import Literal, get_args

from torch import Tensor

from gls_lightning.arguments import component, require
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.losses import adversarial_accuracy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import adversarial_points

SmallRadius = Literal["half_width", "epsilon"]


class SmallBoxes:
    """Small boxes around adversarial points (Mueller et al., 2023, "Certified Training: Small Boxes are All You Need").

    Args:
        attack: Finds the points. By default PGD of 10 steps of 0.2 and 3 restarts, as CTBench trains SABR.
        subselection_ratio: Lambda, the radius of a small box as a share of the whole one's.
        radius: The whole radius in this ratio: "half_width", that of the box cut off at 0 and 1, in each coordinate
            (CTBench), or "epsilon" (the authors' code).

    Raises:
        ConfigurationError: If ``subselection_ratio`` is not in [0, 1], or ``radius`` is unknown.
    """

    def __init__(self, attack: Attack | None, subselection_ratio: float, radius: SmallRadius) -> None:
        require(0 <= subselection_ratio <= 1, "subselection_ratio", subselection_ratio, "between 0 and 1")
        require(radius in get_args(SmallRadius), "radius", radius, f"one of {', '.join(get_args(SmallRadius))}")
        self.attack = component("attack", attack, Attack) or PGD(steps=10, restarts=3, step_size=0.2)
        self.subselection_ratio = subselection_ratio
        self.radius: SmallRadius = radius

    def around(self, points: Tensor, whole: Box, epsilon: Tensor) -> Box:
        """Returns small boxes around ``points [B, *input]``, moved into the whole boxes where they stick out.

        Where the whole box, cut off at 0 or 1, is narrower than the small box, the result is the whole box. (There the
        authors' code leaves the ball if the cut is at 1.)
        """
        radius = self.subselection_ratio * (whole.radius if self.radius == "half_width" else epsilon)
        centre = points.clamp(whole.lower + radius, whole.upper - radius)
        return Box(centre - radius, centre + radius).intersection(whole)

    def find(self, graph: Graph, tensors: Tensors, batch: Batch, correct: Tensor) -> tuple[Box, dict[str, Tensor]]:
        """Attacks the network; returns the small boxes and the metric ``adversarial_accuracy``."""
        whole = Box.around(batch.inputs, batch.epsilon)
        points = adversarial_points(self.attack, graph, tensors, whole, batch)
        logits = graph(tensors, points)
        return self.around(points, whole, batch.epsilon), {
            "adversarial_accuracy": adversarial_accuracy(correct, logits, batch.labels)
        }
