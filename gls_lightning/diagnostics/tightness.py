"""How tight relaxations are for a given network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gls_lightning.arguments import Radius, components, read_radius
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
        errors: How often a relaxation gave no number, by its name; such a sample counts as not certified.
    """

    radii: tuple[float, ...]
    samples: int
    certified_accuracy: Mapping[str, tuple[float, ...]]
    errors: Mapping[str, int]

    @property
    def auc(self) -> dict[str, float]:
        """Area under each curve, by the trapezoidal rule, divided by the width of the grid: between 0 and 1.

        A larger area is a tighter relaxation (Jovanović et al., 2022; paper, Section 2); only areas over the same
        radii and samples compare.
        """
        radii = torch.tensor(self.radii, dtype=torch.double)
        width = self.radii[-1] - self.radii[0]
        return {
            name: (torch.trapezoid(torch.tensor(curve, dtype=torch.double), radii) / width).item()
            for name, curve in self.certified_accuracy.items()
        }


class TightnessMeter:
    """Counts what each relaxation alone certifies at each radius.

    Every sample is bounded at every radius: only IBP's bounds are sure to get looser with the radius. All numbers are
    float64.

    Args:
        radii: At least two radii between 0 and 1, increasing.
        relaxations: By default those of the paper: IBP, HBox, CROWN-IBP and DeepPoly.

    Attributes:
        relaxations: The relaxations by name: that of the class, numbered from the second one of a class on.
        counts: How many samples were certified, and of how many there are no bounds, int64
            ``[relaxations, radii, 2]``.
        samples: How many samples were counted.

    Raises:
        ConfigurationError: The radii are others, or a relaxation is not sound.
    """

    def __init__(self, radii: Sequence[Radius], relaxations: Sequence[Relaxation] | None = None) -> None:
        if not isinstance(radii, Sequence):
            raise ConfigurationError(f"radii is {radii!r}; it must be a list of radii")
        numbers = tuple(read_radius(radius, "radii") for radius in radii)
        if len(numbers) < 2 or not all(small < large for small, large in pairwise(numbers)):
            raise ConfigurationError(
                f"radii is {list(radii)}; give at least two between 0 and 1, each larger than the last"
            )
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
            ConfigurationError: A sample leaves [0, 1].
        """
        indices = torch.arange(len(labels), device=labels.device)
        for certifier, counts in zip(self._certifiers, self.counts, strict=True):
            for radius, count in zip(self.radii, counts, strict=True):
                records = certifier.certify(graph, tensors, inputs, labels, indices, radius)
                verdicts = Counter(record.verdict for record in records)
                count += torch.tensor([verdicts[Verdict.CERTIFIED], verdicts[Verdict.ERROR]])
        self.samples += len(labels)

    def result(self) -> Tightness:
        """The curves of all samples so far.

        Raises:
            ConfigurationError: There are none.
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
    """The relaxations by name: that of the class, numbered from the second one of a class on.

    Raises:
        ConfigurationError: There are none.
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
    """Evenly spaced radii from 0 to ``max_epsilon``, both included.

    Raises:
        ConfigurationError: ``max_epsilon`` is not between 0 (excluded) and 1, or ``num_radii`` is below 2.
    """
    if not read_radius(max_epsilon, "max_epsilon") > 0:
        raise ConfigurationError(f"max_epsilon is {max_epsilon}; it must be above 0")
    if num_radii < 2:
        raise ConfigurationError(f"num_radii is {num_radii}; it must be at least 2")
    return [max_epsilon * (step / (num_radii - 1)) for step in range(num_radii)]
