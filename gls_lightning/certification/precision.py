"""Precision of the computations that proofs rest on."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

Float32Precision = Literal["highest", "high"]
"""Precision of products of float32 numbers, as ``torch.set_float32_matmul_precision`` names it."""


@contextmanager
def float32_precision(precision: Float32Precision) -> Iterator[None]:
    """Sets the precision of products of float32 matrices and of convolutions, and restores the settings afterwards.

    With ``highest`` they are products of float32 numbers on every device. With ``high`` a GPU rounds the factors of
    both to TensorFloat-32, and a CPU does not.

    PyTorch has an older and a newer way to set this, and refuses to read settings that do not agree. Both are set here,
    and where they did not agree before, they do not afterwards.
    """
    products, convolutions = _backends()
    before = [(backend, backend.fp32_precision) for backend in (*products, *convolutions)]
    for backend in products:
        backend.fp32_precision = "ieee"  # with which the older setting can be read, whatever it is
    older = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        if precision == "highest":
            for backend in convolutions:
                backend.fp32_precision = "ieee"
        else:
            products[1].fp32_precision, convolutions[0].fp32_precision = "ieee", "tf32"
        yield
    finally:
        torch.set_float32_matmul_precision(older)
        for backend, setting in before:
            backend.fp32_precision = setting


def _backends() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Returns the settings of matrix products and of convolutions, each first on a GPU and then on a CPU."""
    gpu, convolutions, cpu = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    return (gpu.matmul, cpu.matmul), (convolutions.conv, cpu.conv)  # type: ignore[attr-defined]


def without_tf32() -> AbstractContextManager[None]:
    """Switches TensorFloat-32 off for matrix products and convolutions, and restores the settings afterwards."""
    return float32_precision("highest")


def in_float64(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts all floating-point tensors to float64; leaves the others, such as counters, as they are."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
