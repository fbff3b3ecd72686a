"""Rows as they leave their first activation."""

from dataclasses import dataclass, replace

from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.kernels import both_signs
from gls_lightning.bounds.rows.functions import Functions
from gls_lightning.bounds.rows.rows import DenseRows, Rows


@dataclass(frozen=True)
class FactoredRows(Rows):
    """Mirrored rows with the slopes of an activation, not yet multiplied.

    The rows still are the same for all samples: a matrix product with what follows takes them together with it, and
    their products with the slopes, many times as large, need not exist.

    Attributes:
        base: The mirrored rows.
        slope: Mean of the slopes of the lines below and above, ``[B, P, 1, K]``.
        deviation: Half of what the line below is steeper, ``[B, P, 1, K]``.
    """

    base: Rows
    slope: Tensor
    deviation: Tensor

    @property
    @override
    def functions(self) -> Functions:  # type: ignore[override]
        return self.base.functions._replace(mirrored=False)

    @property
    def values(self) -> Tensor:  # type: ignore[override]
        """The coefficients multiplied out, ``[B, P, 2 S, K]``."""
        values = self.base.values
        return both_signs(values * self.slope, values.abs() * self.deviation)

    @property
    @override
    def size(self) -> int:
        return self.slope.numel() + self.deviation.numel()

    def expanded(self) -> Rows:
        """Multiplies the rows out."""
        return self.base.with_values(self.values, self.functions)

    def can_join(self, matrix: Tensor) -> bool:
        """Says whether :meth:`product` with ``matrix [K, L]`` is faster than multiplying the rows out."""
        return self.base.values.shape[:2] == (1, 1) and self.base.values.shape[2] * matrix.numel() <= _LARGEST_JOINT

    def product(self, matrix: Tensor) -> Tensor:
        """Multiplies the coefficients by ``matrix [K, L]``: ``[B, P, 2 S, L]``."""
        values = self.base.values[0, 0]
        straight, absolute = (
            (factor.squeeze(-2) @ (rows.T[:, :, None] * matrix[:, None]).flatten(1)).unflatten(-1, (len(values), -1))
            for rows, factor in ((values, self.slope), (values.abs(), self.deviation))
        )
        return both_signs(straight, absolute)

    @override
    def with_values(self, values: Tensor, functions: Functions) -> Rows:
        return self.base.with_values(values, functions)

    @override
    def _read(self, elements: Tensor) -> Tensor:
        return self.base._read(elements)

    @override
    def multiply(self, factor: Tensor) -> Rows:
        factor = self.read(factor)
        return replace(self, slope=self.slope * factor, deviation=self.deviation * factor)

    @override
    def to_dense(self) -> DenseRows:
        return self.expanded().to_dense()

    @override
    def __add__(self, other: Rows) -> Rows:
        return self.expanded() + other


_LARGEST_JOINT = 2**20
"""Coefficients of the rows joined with what follows, beyond which they are multiplied out (measured: benchmarks/)."""
