"""The inner loops of back-substitution, in plain operations of PyTorch and, on CUDA, in kernels written in Triton."""

from gls_lightning.bounds.kernels.banded_product import WHOLE, MatrixBand, banded_product
from gls_lightning.bounds.kernels.choice import prepare
from gls_lightning.bounds.kernels.plain_forms import both_signs, contract
from gls_lightning.bounds.kernels.sign_split import absolute_dot, relax, relaxed_product

__all__ = [
    "WHOLE",
    "MatrixBand",
    "absolute_dot",
    "banded_product",
    "both_signs",
    "contract",
    "prepare",
    "relax",
    "relaxed_product",
]
