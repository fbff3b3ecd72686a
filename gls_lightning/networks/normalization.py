"""Input normalisation as a layer, so that boxes are boxes of pixels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError


class Normalization(nn.Module):
    """A layer that shifts and scales each channel: ``(x - mean) / std``.

    Args:
        mean: One value per channel, in units of the input.
        std: One positive value per channel, in units of the input.

    Raises:
        ConfigurationError: The lengths differ or are zero, a value is not finite, or one of ``std`` not positive.

    Example:
        >>> Normalization(mean=[0.5], std=[0.25])(torch.ones(1, 1, 2, 2))
        tensor([[[[2., 2.],
                  [2., 2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not mean or len(mean) != len(std):
            raise ConfigurationError(f"mean is {mean} and std is {std}; they must have one number per channel each")
        require(all(map(math.isfinite, mean)), "mean", mean, "finite")
        require(all(0 < value < math.inf for value in std), "std", std, "positive and finite")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises images of shape ``[B, C, H, W]``."""
        return (x - self.mean) / self.std
