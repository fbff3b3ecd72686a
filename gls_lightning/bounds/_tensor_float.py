"""The precision of float32 on a GPU's tensor cores."""

from typing import Any, NamedTuple

import torch


class TensorFloat32(NamedTuple):
    """Settings of PyTorch that allow TensorFloat-32, of 10 bits, in the place of float32.

    Attributes:
        products: Whether matrix products may use it.
        convolutions: Whether convolutions may.
    """

    products: bool
    convolutions: bool

    @classmethod
    def current(cls) -> "TensorFloat32":
        """Reads the settings by the names that know both ways to make them; the older names may raise."""
        cudnn: Any = torch.backends.cudnn  # its type lacks the attribute
        return cls(torch.backends.cuda.matmul.fp32_precision == "tf32", cudnn.conv.fp32_precision == "tf32")


FULL_PRECISION = TensorFloat32(products=False, convolutions=False)
"""Neither may use it, as where something is to be proved."""
