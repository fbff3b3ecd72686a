"""Precision of the computations that proofs rest on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def without_tf32() -> Iterator[None]:
    """Switches TensorFloat-32 off for matrix products and convolutions, and restores the settings afterwards."""
    cudnn: Any = torch.backends.cudnn  # its type lacks the attribute
    backends = (torch.backends.cuda.matmul, cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def in_float64(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts all floating-point tensors to float64; leaves the others, such as counters, as they are."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
