"""Rows whose settings are chosen among several, all with the same seeds, on held-out images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean

from gls_lightning.commands.table.rows import Row
from gls_lightning.commands.table.training import Training
from gls_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class TunedRow:
    """A row with each of the values that are tried, and with each seed.

    Attributes:
        row: The row.
        candidates: For each choice of values its trainings, one for each seed.
    """

    row: Row
    candidates: Sequence[Sequence[Training]]

    @property
    def trainings(self) -> list[Training]:
        """All trainings, those with the first seed first."""
        return [training for of_seed in zip(*self.candidates, strict=True) for training in of_seed]

    @property
    def chosen(self) -> Sequence[Training]:
        """The trainings with the best mean certified accuracy on held-out images; nothing before all have ended."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        accuracies = [held_out_accuracies(candidate) for candidate in self.candidates]
        if any(len(of) < len(candidate) for of, candidate in zip(accuracies, self.candidates, strict=True)):
            return ()
        means = [mean(of) for of in accuracies]
        return self.candidates[means.index(max(means))]

    def certify(self, seed: int) -> None:
        """Certifies the chosen network of a seed."""
        if not self.chosen:
            open_ones = [training.label for training in self.trainings if training.held_out_accuracy is None]
            raise ConfigurationError(
                f"{open_ones[0]} has no finite certified accuracy on held-out images, so no value is the best"
            )
        self.chosen[seed].certify_weights()


def held_out_accuracies(candidate: Sequence[Training]) -> list[float]:
    """Reads the certified accuracies on held-out images, without those of seeds that have none yet."""
    return [accuracy for training in candidate if (accuracy := training.held_out_accuracy) is not None]


def choices(tuned: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Returns the options of every combination of values.

    Args:
        tuned: The values that are tried, by the keys.
    """
    return list(product(*([f"--{key}={value}" for value in of] for key, of in sorted(tuned.items()))))
