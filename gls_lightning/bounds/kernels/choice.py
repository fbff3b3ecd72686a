"""The choice between kernels in Triton and plain operations: once for each device, by comparing them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Thread
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from gls_lightning.bounds.kernels.banded_product import MatrixBand
from gls_lightning.bounds.kernels.plain_forms import plain_absolute_dot, plain_relax, plain_relaxed_product
from gls_lightning.private_names import of_torch

Result = TypeVar("Result")

Name = Literal["relax", "absolute_dot", "relaxed_product"]
"""The functions of which there are kernels."""


def kernels_for(name: Name, rows: Tensor) -> ModuleType | None:
    """Returns the module of the kernels if it is to be used for a function of ``rows``, else None.

    Kernels are used on CUDA, for float32 and float64, once they were found equal to the plain forms (:func:`prepare`).
    That is not found out while a CUDA graph is captured, nor are stand-ins for tensors given to them.
    """
    if rows.device.type != "cuda" or rows.dtype not in _TYPES or torch.compiler.is_compiling():
        return None
    if not torch.cuda.is_available() or of_torch.dispatch_is_watched():
        return None
    key = rows.device.index, rows.dtype
    if key not in _found and torch.cuda.is_current_stream_capturing():
        return None
    return prepare(rows.device, rows.dtype).get(name)


def prepare(device: torch.device, dtype: torch.dtype = torch.float32) -> Mapping[Name, ModuleType]:
    """Imports and compiles the kernels and compares them, and their gradients, with the plain forms.

    This takes seconds the first time. Where a kernel cannot be used, a warning says why, once.

    Args:
        device: A CUDA device.
        dtype: Type of the numbers, float32 or float64.

    Returns:
        The module of the kernels by the function for which it can be used.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    if (index, dtype) not in _found:
        reasons = _in_thread(partial(_examine, _device(index), dtype))
        if wrong := [f"{name}: {reason}" for name, reason in reasons.items() if reason]:
            place = f"{dtype} on cuda:{index}"
            warnings.warn(f"plain forms replace Triton kernels for {place} ({'; '.join(wrong)})", stacklevel=2)
        usable = [name for name, reason in reasons.items() if not reason]
        _found[index, dtype] = dict.fromkeys(usable, _kernels()) if usable else {}
    return _found[index, dtype]


_TYPES = torch.float32, torch.float64

_found: dict[tuple[int | None, torch.dtype], Mapping[Name, ModuleType]] = {}
"""The usable kernels by index of the device and type of the numbers."""


def _device(index: int) -> torch.device:
    return torch.device("cuda", index)


def _kernels() -> ModuleType:
    from gls_lightning.bounds.kernels import _triton_forms  # takes seconds, and Triton may be missing

    return _triton_forms


def _in_thread(function: Callable[[], Result]) -> Result:
    """Calls a function without the ``torch.func`` transforms, autocast and inference mode that may be active here."""
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def _examine(device: torch.device, dtype: torch.dtype) -> dict[Name, str]:
    """Says for each function why its kernels cannot be used; empty if they can."""
    names: tuple[Name, ...] = get_args(Name)
    names = names if dtype == torch.float32 else names[:2]  # products in float64 are plain
    reasons = {}
    for name in names:
        try:
            with torch.cuda.device(device):
                reasons[name] = difference_from_plain_form(name, _kernels(), device, dtype)
        except Exception as error:  # of an installation, a compiler or a driver: plain forms need none of them
            reasons[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return reasons


def difference_from_plain_form(name: Name, kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> str:
    """Says how the kernels of a function, their gradients included, differ from its plain form; empty if they do not.

    The plain form runs in float64, which TensorFloat-32 does not touch.
    """
    for shared, size in _CASES[name]:
        rows, *lines = _case(device, dtype, shared, size)
        ours, plain, inputs, precision = _pair(name, kernels, rows, lines)
        for over_members in (False, True):
            found = _results(ours, inputs, over_members)
            expected = _results(plain, [tensor.double() for tensor in inputs], over_members)
            if not all(_are_equal(f, e, precision) for f, e in zip(found, expected, strict=True)):
                return "its values or gradients are not those of the plain form"
        if name == "relax" and (kernels.relax(rows, lines[0], -lines[0], lines[0])[0] * (rows > 0)).any():
            return "products that cancel are not 0"
    return ""


_CASES: Mapping[Name, Sequence[tuple[bool, int]]] = {
    "relax": ((False, 19), (True, 19)),
    "absolute_dot": ((False, 19), (True, 19)),
    "relaxed_product": ((False, 19), (False, 130), (True, 19)),  # small and large tiles
}
"""Cases to compare: sharing of the rows by samples and positions, and their number."""


def _pair(
    name: Name, kernels: ModuleType, rows: Tensor, lines: list[Tensor]
) -> tuple[Callable[..., Any], Callable[..., Any], list[Tensor], float]:
    """Returns kernels and plain form of a function, arguments, and the precision of its products."""
    precision = torch.finfo(rows.dtype).eps
    if name == "relax":
        return kernels.relax, plain_relax, [rows, *lines], precision
    if name == "absolute_dot":
        return kernels.absolute_dot, plain_absolute_dot, [rows, lines[0]], precision
    band = MatrixBand(outputs=5, inputs=10, stride=2, padding=1, reach=4)
    ours = partial(kernels.relaxed_product, band=band, precision="tf32")
    return ours, partial(plain_relaxed_product, band=band), [rows, *lines, _matrix(rows, band)], 2**-11


def _matrix(rows: Tensor, band: MatrixBand) -> Tensor:
    """Returns a matrix with a band for rows of 150 elements."""
    matrix = rows.new_zeros(5, 30, 10, 16)
    for line in range(band.outputs):
        first, end = band.inputs_of(line, line + 1)
        matrix[line, :, first:end] = torch.linspace(-1, 1, 30 * (end - first) * 16).view(30, -1, 16).to(rows) / 10
    return matrix.flatten(2).flatten(0, 1)


def _case(device: torch.device, dtype: torch.dtype, shared: bool, size: int) -> list[Tensor]:
    """Returns rows and three lines whose sizes are no multiples of a block's."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = [(1, 1, size, 150), *3 * [(2, 2, 1, 150)]] if shared else [(2, 2, size, 150), *3 * [(2, 1, 1, 150)]]
    return [torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes]


def _results(function: Callable[..., Any], inputs: Sequence[Tensor], over_members: bool) -> list[Tensor]:
    """Returns results and gradients of a function, for one set of arguments or two with the same rows."""
    rows, *others = (tensor.detach().requires_grad_() for tensor in inputs)
    if over_members:
        stacks = [torch.stack([other, 2 * other]) for other in others]
        results = torch.func.vmap(function, (None, *(0 for _ in others)))(rows, *stacks)
    else:
        results = function(rows, *others)
    results = [results] if isinstance(results, Tensor) else [*results]
    directions = [torch.linspace(-1, 2, r.numel(), dtype=r.dtype, device=r.device).view_as(r) for r in results]
    return [*results, *torch.autograd.grad(results, (rows, *others), directions)]


def _are_equal(found: Tensor, expected: Tensor, precision: float) -> bool:
    tolerance = _SLACK * precision * expected.abs().max()
    return found.shape == expected.shape and bool(((found - expected).abs() <= tolerance).all())


_SLACK = 30
"""Largest errors of sums of a hundred products, in units of the precision of the largest result."""
