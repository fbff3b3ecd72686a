"""Slots: each is shared by elements of the network's input that no element of a node sees together."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds._constants import constants
from gls_lightning.bounds._windows import Pair, Windows


class Blocks(NamedTuple):
    """The blocks in which a strided layer reads a map: of the size of the stride, behind the padding.

    Attributes:
        size: Rows and columns of a block.
        padding: Rows and columns of the first block that lie before the map.
        counts: Number of blocks in each direction.
    """

    size: Pair
    padding: Pair
    counts: Pair

    @classmethod
    def single(cls, positions: Pair) -> "Blocks":
        """Makes a block of each position."""
        return cls((1, 1), (0, 0), positions)


def slots_of(windows: Windows) -> Pair:
    """Counts rows and columns of slots: those of a window, or of the map if that is smaller."""
    height, width = map(min, windows.kernel, windows.shape[1:])
    return height, width


def inputs_in_slots(values: Tensor, windows: Windows) -> Tensor:
    """Puts the elements ``[B, *input_shape]`` of the input into each slot and position, 0 where the window has none.

    Returns:
        ``[B, K, 1, *positions]``.
    """
    (index,) = constants(_inputs_in_slots, values, windows)
    return F.pad(values.flatten(1), (0, 1)).index_select(1, index).reshape(len(values), -1, 1, *windows.positions)


def move(values: Tensor, windows: Windows, target: Pair, blocks: Blocks) -> Tensor:
    """Moves coefficients from the slots of their windows to as many or more, and their positions into blocks.

    Args:
        values: The coefficients, ``[B, K, C, *positions]``.
        windows: The windows of the input that the positions see.
        target: Rows and columns of the new slots.
        blocks: Where the positions go; the elements of a block become channels, the channel varying fastest.

    Returns:
        ``[B, K', h * w * C, *counts]`` for blocks of ``h x w``, in memory the channels last.
    """
    batch, _, channels, *_ = values.shape
    rows = values.permute(0, 1, 3, 4, 2).reshape(batch, -1, channels)
    there, back = constants(_moves, values, windows, target, blocks)
    moved = _Move.apply(rows, there, back)
    return moved.reshape(batch, -1, *blocks.counts, channels * blocks.size[0] * blocks.size[1]).permute(0, 1, 4, 2, 3)  # type: ignore[no-any-return]


class _Move(torch.autograd.Function):
    """Picks rows, none twice; an index past the last gives zeros. The gradient picks them back: faster than adding."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
        size = rows.shape[1]
        if len(there) > size:
            return F.pad(rows, (0, 0, 0, 1)).index_select(1, there)
        return rows.index_select(1, there.clamp_max(size - 1)) * (there < size)[:, None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _Move.apply(grad, back, there), None, None


def _seen(windows: Windows, slots: Pair, blocks: Blocks) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Finds for each slot, block and element of it the input's row and column, the map's, and whether both exist.

    Returns:
        Five tensors that broadcast to ``[slots, slots, counts, counts, size, size]``: rows before columns.
    """
    axes = []
    for axis in (0, 1):
        first = torch.arange(blocks.counts[axis])[:, None] * blocks.size[axis] - blocks.padding[axis]
        position = first + torch.arange(blocks.size[axis])
        start = position * windows.stride[axis] + windows.offset[axis]
        end = (start + windows.kernel[axis]).clamp_max(windows.shape[1 + axis])
        start = start.clamp_min(0)
        place = start + (torch.arange(slots[axis])[:, None, None] - start) % slots[axis]
        seen = (position >= 0) & (position < windows.positions[axis]) & (place < end)
        axes.append((place, position[None], seen))
    rows, columns = ([t[:, None, :, None, :, None] for t in axes[0]], [t[None, :, None, :, None] for t in axes[1]])
    return rows[0], columns[0], rows[1], columns[1], rows[2] & columns[2]


def _slot(channels: int, size: Pair, row: Tensor, column: Tensor) -> Tensor:
    """Numbers a slot, for each channel of the input."""
    return (torch.arange(channels).reshape(-1, *(1,) * 6) * size[0] + row) * size[1] + column


def _inputs_in_slots(windows: Windows) -> tuple[Tensor]:
    """Finds the input's element in each slot at each position: indices ``[K * P]``, past the last if there is none."""
    channels, height, width = windows.shape
    row, column, *_, seen = _seen(windows, slots_of(windows), Blocks.single(windows.positions))
    return (torch.where(seen, _slot(channels, (height, width), row, column), channels * height * width).flatten(),)


def _moves(windows: Windows, target: Pair, blocks: Blocks) -> tuple[Tensor, Tensor]:
    """Finds where each coefficient comes from, and where it goes: an index past the last stands for nowhere."""
    channels, source = windows.shape[0], slots_of(windows)
    row, column, *position, seen = _seen(windows, target, blocks)
    slot = _slot(channels, source, row % source[0], column % source[1])
    there = (slot * windows.positions[0] + position[0]) * windows.positions[1] + position[1]
    size = channels * source[0] * source[1] * windows.num_positions
    there = torch.where(seen, there, size).flatten()
    back = torch.full((size + 1,), len(there)).scatter(0, there, torch.arange(len(there)))
    return there, back[:-1]
