"""The geometry of sliding windows over a map."""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds._constants import constants

Pair = tuple[int, int]


def pair(value: Any) -> Pair:
    """Reads height and width as torch's layers keep them: one number for both, or two."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def area(size: Pair | torch.Size) -> int:
    """Returns height times width."""
    height, width = size
    return height * width


@dataclass(frozen=True)
class Windows:
    """One window of a map ``[C, H, W]`` for each of a grid of positions; windows may reach over the edge.

    Attributes:
        shape: ``(C, H, W)`` of the map.
        kernel: Height and width of a window.
        stride: Step from one position's window to the next.
        offset: Row and column of the first window's corner; negative where it reaches over the edge.
        positions: Number of windows in each direction.
    """

    shape: tuple[int, int, int]
    kernel: Pair
    stride: Pair
    offset: Pair
    positions: Pair

    @property
    def num_positions(self) -> int:
        """Number of windows."""
        return self.positions[0] * self.positions[1]

    @property
    def inside(self) -> bool:
        """Says whether no window reaches over the edge."""
        return all(before >= 0 and after <= 0 for before, after in map(self._overhang, (0, 1)))

    def _overhang(self, axis: int) -> Pair:
        """Counts the elements by which the first window starts before the map, negated, and the last ends after it."""
        end = self.offset[axis] + (self.positions[axis] - 1) * self.stride[axis] + self.kernel[axis]
        return self.offset[axis], end - self.shape[1 + axis]

    def extract(self, elements: Tensor) -> Tensor:
        """Cuts the windows out of maps ``[N, C, H, W]``: ``[N, P, C * kh * kw]``, 0 over the edge."""
        (top, bottom), (left, right) = map(self._overhang, (0, 1))
        padded = F.pad(elements, [max(size, 0) for size in (-left, right, -top, bottom)])
        (index,) = constants(_window_elements, elements, self, torch.Size(padded.shape[1:]))
        return padded.flatten(1).index_select(1, index).view(len(elements), self.num_positions, -1)

    def scatter(self, values: Tensor, positions: Tensor | None = None) -> Tensor:
        """Puts windows on maps, cut at the edge.

        Args:
            values: One window for each position, ``[B, P, S, C * kh * kw]``; or for one position each.
            positions: If for one position each, which, ``[B]``.

        Returns:
            ``[B, P, S, C, H, W]``.
        """
        channels, *size = self.shape
        by_channel = F.pad(values.unflatten(-1, (channels, -1)), (0, 1))
        (index,) = constants(_positions_in_window, values, self)
        index = index[:, None, None]
        index = index if positions is None else index[positions][:, None]
        maps: Tensor = by_channel.gather(-1, index.expand(*by_channel.shape[:-1], -1)).unflatten(-1, size)
        return maps

    def enlarged(self, other: "Windows") -> "Windows":
        """Returns the smallest windows at the same positions that hold these and ``other``."""
        offset = tuple(map(min, self.offset, other.offset))
        ends = (max(a.offset[i] + a.kernel[i] for a in (self, other)) for i in (0, 1))
        kernel = tuple(end - start for end, start in zip(ends, offset, strict=True))
        return replace(self, offset=offset, kernel=kernel)  # type: ignore[arg-type]

    def everything(self, positions: Pair) -> "Windows":
        """Returns windows of the whole map for each of a grid of positions."""
        return replace(self, kernel=self.shape[1:], stride=(0, 0), offset=(0, 0), positions=positions)

    def pad(self, values: Tensor, larger: "Windows") -> Tensor:
        """Writes coefficients ``[..., C * kh * kw]`` of these windows as those of ``larger`` ones, 0 beyond."""
        top, left = (a - b for a, b in zip(self.offset, larger.offset, strict=True))
        bottom, right = (b - a - s for a, b, s in zip(self.kernel, larger.kernel, (top, left), strict=True))
        maps = values.unflatten(-1, (self.shape[0], *self.kernel))
        return F.pad(maps, (left, right, top, bottom)).flatten(-3)


def _positions_in_window(windows: Windows) -> tuple[Tensor]:
    """Finds the index in each window of each element of the map, past the last if outside: ``[P, H * W]``."""
    in_window, outside = [], []
    for axis in (0, 1):
        starts = torch.arange(windows.positions[axis]) * windows.stride[axis] + windows.offset[axis]
        relative = torch.arange(windows.shape[1 + axis]) - starts[:, None]
        in_window.append(relative)
        outside.append((relative < 0) | (relative >= windows.kernel[axis]))
    rows, columns = in_window[0][:, None, :, None], in_window[1][None, :, None, :]
    index = rows * windows.kernel[1] + columns
    index = index.masked_fill(
        outside[0][:, None, :, None] | outside[1][None, :, None, :], windows.kernel[0] * windows.kernel[1]
    )
    return (index.reshape(windows.num_positions, -1),)


def _window_elements(windows: Windows, padded: torch.Size) -> tuple[Tensor]:
    """Finds the places in the flattened padded map of the elements of every window, ``[P * C * kh * kw]``.

    Copying them by index is several times faster than ``F.unfold``, forwards and backwards.
    """
    (rows, columns), (channels, height, width) = windows.positions, padded
    first_row, first_column = (max(start, 0) for start in windows.offset)  # the map is padded, and never cut
    top = first_row + torch.arange(rows)[:, None] * windows.stride[0] + torch.arange(windows.kernel[0])
    left = first_column + torch.arange(columns)[:, None] * windows.stride[1] + torch.arange(windows.kernel[1])
    in_map = top[:, None, :, None] * width + left[None, :, None, :]
    return ((in_map[:, :, None] + torch.arange(channels)[:, None, None] * height * width).flatten(),)
