"""Hybrid zonotopes: boxes with an exact linear dependence on the network's input."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gls_lightning.bounds._slots import Blocks, inputs_in_slots, move, slots_of
from gls_lightning.bounds._windows import Windows
from gls_lightning.bounds.box import Box


@dataclass(frozen=True)
class Errors:
    """The linear dependence of a node's elements on the elements of the network's input.

    Two elements of the input that lie far apart are seen by no element of the node together. Such elements share a
    slot: the one in row ``i`` and column ``j`` of a channel has slot ``(i mod m, j mod n)`` of that channel if windows
    have ``m`` rows and ``n`` columns. The coefficients of a first layer thus take its kernel's area instead of the
    image's, and slots pass through an operation as a batch of maps does.

    Attributes:
        values: The derivatives, ``[B|1, K, *shape]`` for ``K`` slots.
        windows: The part of the input that each position of a map sees; a vector sees everything.
    """

    values: Tensor
    windows: Windows

    @classmethod
    def of_input(cls, shape: torch.Size, like: Tensor) -> "Errors":
        """Returns the errors of the network's input itself."""
        channels, height, width = shape if len(shape) == 3 else (shape.numel(), 1, 1)
        values = torch.eye(channels, dtype=like.dtype, device=like.device).reshape(1, channels, channels, 1, 1)
        windows = Windows((channels, height, width), (1, 1), (1, 1), (0, 0), (height, width))
        if len(shape) == 3:
            return cls(values.expand(-1, -1, -1, height, width), windows)
        return cls(values.reshape(1, channels, *shape), windows.everything((1, 1)))

    def with_slots_for(self, windows: Windows, blocks: Blocks | None = None) -> Tensor:
        """Returns the values in the slots of larger windows, ``[B|1, K, *shape]``; for blocks see :func:`move`."""
        if blocks is None and slots_of(windows) == slots_of(self.windows):
            return self.values
        return move(self.values, self.windows, slots_of(windows), blocks or Blocks.single(self.windows.positions))

    def __add__(self, other: "Errors") -> "Errors":
        if self.windows.stride == other.windows.stride:
            common = self.windows.enlarged(other.windows)
        else:
            common = self.windows.everything(self.windows.positions)
        return Errors(self.with_slots_for(common) + other.with_slots_for(common), common)

    def deviation(self, radius: Tensor) -> Tensor:
        """Bounds the change of the node's elements, ``[B, *shape]``, if the input's change by up to ``radius``."""
        if self.windows.stride == (0, 0):
            by_slot = radius.reshape(len(radius), -1, *(1,) * (self.values.ndim - 2))
        else:
            by_slot = inputs_in_slots(radius, self.windows)
        return _WeightedNorm.apply(self.values, by_slot)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Zonotope:
    """The sum of a box and a linear image of the input box: a hybrid zonotope (Mirman et al., 2018).

    Attributes:
        box: The part that depends on nothing else, each side ``[B, *shape]``; centre included.
        errors: Dependence of each element on the input's.
        input_radius: Half-widths of the input box, ``[B, *input_shape]``.
    """

    box: Box
    errors: Errors
    input_radius: Tensor
    # A cached_property takes a lock, which torch.compile does not.
    _bounds: list[Box] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of_input(cls, box: Box) -> "Zonotope":
        """Writes the box of the network's inputs as a zonotope."""
        return cls(Box(box.centre, box.centre), Errors.of_input(box.lower.shape[1:], box.lower), box.radius)

    @property
    def bounds(self) -> Box:
        """The smallest box around it."""
        if not self._bounds:
            deviation = self.errors.deviation(self.input_radius)
            self._bounds.append(Box(self.box.lower - deviation, self.box.upper + deviation))
        return self._bounds[0]


class _WeightedNorm(torch.autograd.Function):
    """``(values.abs() * weights).sum(1)``, of which autograd keeps nothing that is not kept anyway."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, weights: Tensor) -> Tensor:
        return (values.abs() * weights).sum(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        values, weights = ctx.saved_tensors
        grad = grad[:, None]
        grad_weights = (grad * values.abs()).sum_to_size(weights.shape) if ctx.needs_input_grad[1] else None
        return (values.sign() * (grad * weights)).sum_to_size(values.shape), grad_weights
