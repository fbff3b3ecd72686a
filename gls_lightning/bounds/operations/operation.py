"""The rules that bounding needs of each operation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.rational import NotRationalError, Rationals
from gls_lightning.bounds.rounding import per_sample, smallest
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.zonotope import Errors, Zonotope

Tensors = Mapping[str, Tensor]
"""A network's parameters and buffers by their names in its state dict."""


@dataclass(frozen=True, kw_only=True)
class Operation(ABC):
    """A primitive of a network, with all rules that bounding needs side by side.

    Operations hold no tensors, only the names under which they find their parameters and buffers.

    Attributes:
        input_shapes: Shape of each input without the batch.
        output_shape: Shape of the output without the batch.
    """

    input_shapes: tuple[torch.Size, ...]
    output_shape: torch.Size

    @abstractmethod
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        """Computes the output ``[B, *output_shape]`` at the inputs ``[B, *input_shape]``."""

    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        """Computes the output ``[*output_shape]`` at one input of each kind, without rounding.

        Raises:
            NotRationalError: Always, unless an operation says otherwise.
        """
        raise NotRationalError

    @abstractmethod
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        """Computes the smallest box that holds the outputs over the input boxes (paper, Eq. 3)."""

    @abstractmethod
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        """Bounds the scale of the rounding errors of an interval or zonotope (see ``rounding.py``).

        Args:
            tensors: Parameters and buffers.
            inputs: Boxes that hold the inputs.
            output: The box of the output.

        Returns:
            The scale, ``[B, *output_shape]`` or broadcasting to it; None if there is no rounding.
        """

    @abstractmethod
    def zonotope(self, tensors: Tensors, *inputs: Zonotope) -> Zonotope:
        """Computes a hybrid zonotope that holds the outputs over those of the inputs (Mirman et al., 2018)."""


class AffineOperation(Operation):
    """An operation that back-substitution passes exactly."""

    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        """Bounds the sum of the absolute products and of the constant that make up each element of the output.

        Args:
            tensors: Parameters and buffers.
            inputs: The largest absolute value of each input, ``[B]``.

        Returns:
            The bound, ``[B, *output_shape]`` or broadcasting to it. By default found by intervals, at their cost.
        """
        sides = (
            per_sample(largest, len(shape)).expand(-1, *shape)
            for largest, shape in zip(inputs, self.input_shapes, strict=True)
        )
        lower, upper = self.interval(tensors, *(Box(-side, side) for side in sides))
        return torch.maximum(-lower, upper)

    @override
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        # Numbers below the smallest normal one may be lost before they are multiplied.
        return self.magnitude(tensors, *(box.largest + smallest(box.lower.dtype) for box in inputs))

    @override
    def zonotope(self, tensors: Tensors, *inputs: Zonotope) -> Zonotope:
        box = self.interval(tensors, *(zonotope.box for zonotope in inputs))
        errors = self.errors(tensors, *(zonotope.errors for zonotope in inputs))
        return Zonotope(box, errors, inputs[0].input_radius)

    @abstractmethod
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        """Passes the errors of the inputs through the linear part, without the constant."""

    @abstractmethod
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        """Writes rows of the output as rows of each input, the operation's constant part left out.

        Args:
            tensors: Parameters and buffers.
            rows: Rows of the output.
        """


class Activation(Operation):
    """An elementwise nonlinear operation, bounded between two lines."""

    @override
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        return per_sample(inputs[0].largest + output.largest, len(self.output_shape))

    def steepness(self, lines: Lines) -> Tensor:
        """Bounds the slope of any line that may be taken in place of these, ``[B, *shape]``.

        Rounding errors of the input, and of the lines themselves, count as often at the output. By default at least 1.
        """
        return torch.maximum(lines.lower_slope.abs(), lines.upper_slope.abs()).clamp_min(1)

    @override
    def zonotope(self, tensors: Tensors, *inputs: Zonotope) -> Zonotope:
        (zonotope,) = inputs
        slope, offset, exact = self.exact_line(zonotope.bounds)
        cut = self.interval(tensors, zonotope.bounds)
        sides = (torch.where(exact, slope * side + offset, c) for side, c in zip(zonotope.box, cut, strict=True))
        errors = Errors(zonotope.errors.values * slope[:, None], zonotope.errors.windows)
        return Zonotope(Box(*sides), errors, zonotope.input_radius)

    def exact_line(self, box: Box) -> tuple[Tensor, Tensor, Tensor]:
        """Returns slope and offset where the activation is a line over the box, 0 elsewhere, and marks where it is."""
        lines = self.lines(box)
        exact = (lines.lower_slope == lines.upper_slope) & (lines.lower_offset == lines.upper_offset)
        return torch.where(exact, lines.lower_slope, 0), torch.where(exact, lines.lower_offset, 0), exact

    @abstractmethod
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        """Computes lines below and above the activation over the box of its inputs ``[B, *shape]``.

        Args:
            box: The inputs.
            lower_slope: Which lower line to take, for activations that offer a choice.
        """
