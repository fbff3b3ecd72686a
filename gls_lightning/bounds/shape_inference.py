"""Shape inference: the shapes of results, from tensors without data."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.private_names import of_torch


class ShapeInference(of_torch.DispatchMode):
    """A mode for computing on tensors without data ("meta") that does not import PyTorch's compiler.

    PyTorch's own rules for such tensors bring its compiler in, which takes seconds. Rules here stand for the ones that
    bounds need most often; strides are not kept.
    """

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        of_result = _elementwise if torch.Tag.pointwise in func.tags else _RULES.get(name)
        listed = (part for argument in args for part in (argument if isinstance(argument, list) else [argument]))
        tensors = [part for part in listed if isinstance(part, Tensor)]
        devices = {str(tensor.device) for tensor in tensors} or {str((kwargs or {}).get("device"))}
        if of_result is None or devices != {"meta"}:
            return func(*args, **(kwargs or {}))
        if name.endswith("_"):  # in place
            return args[0]
        return torch.empty(of_result(*args), dtype=_type(name, tensors), device="meta")


def _type(operation: str, tensors: Sequence[Tensor]) -> torch.dtype | None:
    if operation in ("eq", "ne", "lt", "le", "gt", "ge"):
        return torch.bool
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors)) if tensors else None


def _elementwise(*args: Any) -> Sequence[int]:
    return np.broadcast_shapes(*(argument.shape for argument in args if isinstance(argument, Tensor)))


def _concatenated(tensors: list[Tensor], dim: int = 0) -> list[int]:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return shape


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor | None, *geometry: Any) -> list[int]:
    strides, paddings, dilations, transposed, added, groups = geometry
    channels = kernel.shape[1] * groups if transposed else kernel.shape[0]
    shape = [x.shape[0], channels]
    for size, taps, s, p, d, more in zip(
        x.shape[2:], kernel.shape[2:], strides, paddings, dilations, added, strict=True
    ):
        reach = d * (taps - 1) + 1
        shape.append((size - 1) * s - 2 * p + reach + more if transposed else (size + 2 * p - reach) // s + 1)
    return shape


def _selected(x: Tensor, dim: int, index: Tensor) -> list[int]:
    return [*x.shape[:dim], len(index), *x.shape[dim + 1 :]]


def _summed(x: Tensor, dims: Sequence[int], keepdim: bool = False) -> list[int]:
    summed = {dim % x.ndim for dim in dims}
    return [1 if i in summed else size for i, size in enumerate(x.shape) if keepdim or i not in summed]


_RULES: dict[str, Callable[..., Sequence[int]]] = {
    "mm": lambda first, second: (first.shape[0], second.shape[1]),
    "bmm": lambda first, second: (*first.shape[:2], second.shape[2]),
    "addmm": lambda _, first, second: (first.shape[0], second.shape[1]),
    "convolution": _convolved,
    "cat": _concatenated,
    "eye": lambda rows, columns=None: (rows, columns or rows),
    "index_select": _selected,
    "new_full": lambda _, shape, value: shape,
    "sum": _summed,
    "zeros_like": lambda x: x.shape,
    "_unsafe_view": lambda _, shape: shape,
}
"""Shapes of results by operation, for operations that are not elementwise."""
