"""What ``gls certify`` is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from gls_lightning.arguments import read_radius
from gls_lightning.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class CertificationOptions:
    """Which test images are certified, and where the records go.

    Args:
        epsilon: Radius.
        output: Directory of the records.
        start: Position of the first image in the test set.
        end: Position behind the last one. By default the end of the test set.
        samples: In place of ``end``, how many images; all that follow where there are fewer.
        counterexamples: Whether counterexamples are stored, too.
        retry_unknown: Whether samples that earlier runs could not decide are tried again.

    Raises:
        ConfigurationError: A value is out of range.
    """

    epsilon: float
    output: Path
    start: int = 0
    end: int | None = None
    samples: int | None = None
    counterexamples: bool = False
    retry_unknown: bool = False

    def __post_init__(self) -> None:
        read_radius(self.epsilon)
        if self.start < 0:
            raise ConfigurationError(f"start is {self.start}; it must not be negative")
        if self.samples is not None and self.end is not None:
            raise ConfigurationError(f"samples is {self.samples} and end is {self.end}; give one of them")
        if self.samples is not None and self.samples < 1:
            raise ConfigurationError(f"samples is {self.samples}; it must be at least 1")
        if self.end is not None and self.end <= self.start:
            raise ConfigurationError(f"end is {self.end}; it must be above start, which is {self.start}")

    def chosen(self, available: int) -> range:
        """The positions of the images, of so many that there are.

        Raises:
            ConfigurationError: There is no image at ``start``, or before ``end``.
        """
        if self.start >= available:
            raise ConfigurationError(f"start is {self.start}; there are {available} test images, counted from 0")
        if self.end is not None and self.end > available:
            raise ConfigurationError(f"end is {self.end}; there are {available} test images")
        if self.samples is not None:
            return range(self.start, min(self.start + self.samples, available))
        return range(self.start, available if self.end is None else self.end)
