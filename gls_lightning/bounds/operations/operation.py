"""What the engine needs to know of an operation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.rows import Rows

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
        """The output ``[B, *output_shape]`` at the inputs ``[B, *input_shape]``."""

    @abstractmethod
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        """The smallest box that holds the outputs over the input boxes (paper, Eq. 3)."""


class AffineOperation(Operation):
    """An operation that back-substitution passes exactly."""

    @abstractmethod
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        """Writes rows of the output as rows of the inputs and a constant.

        Args:
            tensors: Parameters and buffers.
            rows: Rows of the output.

        Returns:
            Rows of each input, and the constant ``[B|1, P|1, S]`` or nothing.
        """


class Activation(Operation):
    """An elementwise nonlinear operation, bounded between two lines."""

    @abstractmethod
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        """Lines below and above the activation over the box of its inputs ``[B, *shape]``.

        Args:
            box: The inputs.
            lower_slope: Which lower line to take, for activations that offer a choice.
        """
