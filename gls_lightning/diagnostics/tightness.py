"""Tightness of relaxations for a given network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gls_lightning.arguments import Radius, components, read_radius, require
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.certification import Certifier, Verdict
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, HBox, Relaxation


@dataclass(frozen=True)
class Tightness:
    """Certified accuracy as a function of the radius, for each relaxation.

    Attributes:
        radii: The radii, increasing.
        samples: Number of samples.
        certified_accuracy: Fraction of the samples that are certified at each radius, by the relaxation's name; at
            radius 0 this is the natural accuracy.
        errors: Number of samples and radii without a finite bound, by the relaxation's name; they count as not
            certified.
    """

    radii: tuple[float, ...]
    samples: int
    certified_accuracy: Mapping[str, tuple[float, ...]]
    errors: Mapping[str, int]

    @property
    def auc(self) -> dict[str, float]:
        """Area under each curve, by the trapezoidal rule, divided by the width of the grid: between 0 and 1.

        A larger area means a tighter relaxation (Jovanović et al., 2022; paper, Section 2). Compare only areas over the
        same radii and samples.
        """
        radii = torch.tensor(self.radii, dtype=torch.double)
        width = self.radii[-1] - self.radii[0]
        return {
            name: (torch.trapezoid(torch.tensor(curve, dtype=torch.double), radii) / width).item()
            for name, curve in self.certified_accuracy.items()
        }


class TightnessMeter:
    """A count of the samples that each relaxation alone certifies at each radius.

    Every sample is bounded at every radius, because only IBP's bounds always get looser with the radius. All numbers
    are float64.

    Args:
        radii: At least two radii between 0 and 1, increasing.
        relaxations: The relaxations; by default those of the paper: IBP, HBox, CROWN-IBP and DeepPoly.

    Attributes:
        relaxations: The relaxations by name: the class's name, numbered from the second relaxation of a class on.
        counts: Numbers of certified samples, and of samples without a finite bound, int64 ``[relaxations, radii, 2]``.
        samples: Number of samples.

    Raises:
        ConfigurationError: The radii are something else, or a relaxation is not sound.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> meter = TightnessMeter(radii=[0, 0.1, 0.2], relaxations=[IBP()])
        >>> images, labels = torch.tensor([[0.9, 0.1], [0.5, 0.4]]), torch.tensor([0, 0])
        >>> meter.add(trace(torch.nn.Linear(2, 2, bias=False), (2,)), {"weight": torch.eye(2)}, images, labels)
        >>> meter.result().certified_accuracy, meter.result().auc
        ({'IBP': (1.0, 0.5, 0.5)}, {'IBP': 0.625})
    """

    def __init__(self, radii: Sequence[Radius], relaxations: Sequence[Relaxation] | None = None) -> None:
        require(isinstance(radii, Sequence), "radii", radii, "a list of radii")
        numbers = tuple(read_radius(radius, "radii") for radius in radii)
        increase = len(numbers) >= 2 and all(small < large for small, large in pairwise(numbers))
        require(increase, "radii", list(radii), "at least two numbers between 0 and 1, each larger than the last")
        if relaxations is None:
            relaxations = IBP(), HBox(), CROWNIBP(), DeepPoly()
        relaxations = components("relaxations", relaxations, Relaxation)
        self.radii = numbers
        self.relaxations = named_relaxations(relaxations)
        self._certifiers = [Certifier(relaxations=[relaxation], use_attack=False) for relaxation in relaxations]
        self.counts = torch.zeros(len(relaxations), len(radii), 2, dtype=torch.int64)
        self.samples = 0

    def add(self, graph: Graph, tensors: Tensors, inputs: Tensor, labels: Tensor) -> None:
        """Counts a batch.

        Args:
            graph: The network.
            tensors: Its parameters and buffers, on the same device as the samples.
            inputs: The samples in [0, 1], ``[B, *input]``.
            labels: Their classes, ``[B]``, int64.

        Raises:
            ConfigurationError: A sample has a value outside [0, 1].
        """
        indices = torch.arange(len(labels), device=labels.device)
        for certifier, counts in zip(self._certifiers, self.counts, strict=True):
            for radius, count in zip(self.radii, counts, strict=True):
                records = certifier.certify(graph, tensors, inputs, labels, indices, radius)
                verdicts = Counter(record.verdict for record in records)
                count += torch.tensor([verdicts[Verdict.CERTIFIED], verdicts[Verdict.ERROR]])
        self.samples += len(labels)

    def result(self) -> Tightness:
        """Returns the curves of all samples so far.

        Raises:
            ConfigurationError: There are no samples.
        """
        if self.samples == 0:
            raise ConfigurationError("there is no sample to measure tightness on; give at least 1")
        certified, errors = self.counts.unbind(2)
        curves = (certified.double() / self.samples).tolist()
        return Tightness(
            radii=self.radii,
            samples=self.samples,
            certified_accuracy=dict(zip(self.relaxations, map(tuple, curves), strict=True)),
            errors=dict(zip(self.relaxations, errors.sum(1).tolist(), strict=True)),
        )


def named_relaxations(relaxations: Sequence[Relaxation]) -> dict[str, Relaxation]:
    """Names relaxations by their classes, numbered from the second relaxation of a class on.

    Raises:
        ConfigurationError: There are no relaxations.
    """
    if not relaxations:
        raise ConfigurationError("relaxations is empty; give at least one")
    named: dict[str, Relaxation] = {}
    seen: Counter[str] = Counter()
    for relaxation in relaxations:
        name = type(relaxation).__name__
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name}_{seen[name]}"] = relaxation
    return named


def radius_grid(max_epsilon: float, num_radii: int) -> list[float]:
    """Returns evenly spaced radii from 0 to ``max_epsilon``, both included.

    Raises:
        ConfigurationError: ``max_epsilon`` is not between 0 (excluded) and 1, or ``num_radii`` is below 2.
    """
    require(read_radius(max_epsilon, "max_epsilon") > 0, "max_epsilon", max_epsilon, "above 0")
    require(num_radii >= 2, "num_radii", num_radii, "at least 2")
    return [max_epsilon * (step / (num_radii - 1)) for step in range(num_radii)]
