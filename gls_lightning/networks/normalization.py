"""Input normalisation as a layer, so that a box in pixel space is bounded through it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gls_lightning.errors import ConfigurationError


class Normalization(nn.Module):
    """Shifts and scales each channel: ``(x - mean) / std``.

    Args:
        mean: One value per channel, in units of the input.
        std: One positive value per channel, in units of the input.

    Raises:
        ConfigurationError: The lengths differ or are zero, a value is not finite, or one of ``std`` not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not mean or len(mean) != len(std):
            raise ConfigurationError(f"mean {mean} and std {std} must have one value per channel each")
        if not all(map(math.isfinite, mean)):
            raise ConfigurationError(f"mean must be finite, got {mean}")
        if not all(math.isfinite(value) and value > 0 for value in std):
            raise ConfigurationError(f"std must be positive and finite, got {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises images of shape ``[B, C, H, W]``."""
        return (x - self.mean) / self.std
