"""Coefficients of linear functions of a node's output, in the form that is cheapest.

``DenseRows`` read the whole node and ``PatchRows`` a window of a map; ``FactoredRows`` keep the slopes of an activation
apart from the coefficients.
"""

from gls_lightning.bounds.rows.convolution_matrix import Geometry, convolution_matrices, convolved_by_matrix
from gls_lightning.bounds.rows.factored_rows import FactoredRows
from gls_lightning.bounds.rows.functions import AS_GIVEN, Functions
from gls_lightning.bounds.rows.patch_rows import PatchRows
from gls_lightning.bounds.rows.relaxed_rows import relax_rows
from gls_lightning.bounds.rows.rows import DenseRows, Rows
from gls_lightning.bounds.rows.transposed_convolution import form_on_device, is_joined, transposed_convolution
from gls_lightning.bounds.rows.unrolled_convolution import unrolled_convolution

__all__ = [
    "AS_GIVEN",
    "DenseRows",
    "FactoredRows",
    "Functions",
    "Geometry",
    "PatchRows",
    "Rows",
    "convolution_matrices",
    "convolved_by_matrix",
    "form_on_device",
    "is_joined",
    "relax_rows",
    "transposed_convolution",
    "unrolled_convolution",
]
