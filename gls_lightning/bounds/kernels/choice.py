"""The choice between kernels in Triton and plain operations: once for each device, by comparing them."""

import warnings
from collections.abc import Callable, Sequence
from threading import Thread
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gls_lightning.bounds.kernels.plain_forms import PlainAbsoluteDot, PlainRelax
from gls_lightning.private_names import of_torch


def kernels_for(rows: Tensor) -> ModuleType | None:
    """Returns the module of the kernels, where they may be used for ``rows``; else None, and plain forms are used.

    They are used on CUDA, for float32 and float64, once they were found equal to the plain forms (:func:`prepare`).
    That is not found out while a CUDA graph is captured.
    """
    if rows.device.type != "cuda" or rows.dtype not in (torch.float32, torch.float64):
        return None
    if torch.compiler.is_compiling() or not torch.cuda.is_available() or of_torch.dispatch_is_watched():
        return None
    if (rows.device.index, rows.dtype) not in _found and torch.cuda.is_current_stream_capturing():
        return None
    return prepare(rows.device, rows.dtype)


def prepare(device: torch.device, dtype: torch.dtype = torch.float32) -> ModuleType | None:
    """Imports and compiles the kernels and compares them, and their gradients, with the plain forms.

    This takes seconds the first time. Where the kernels cannot be used, a warning says why, once.

    Args:
        device: A CUDA device.
        dtype: Type of the numbers, float32 or float64.

    Returns:
        The module of the kernels, or None if they cannot be used.
    """
    key = torch.cuda.current_device() if device.index is None else device.index, dtype
    if key not in _found:
        kernels, reason = _examined(torch.device("cuda", key[0]), dtype)
        if kernels is None:
            warnings.warn(f"the Triton kernels are not used for {dtype} on cuda:{key[0]}: {reason}", stacklevel=2)
        _found[key] = kernels
    return _found[key]


_found: dict[tuple[int | None, torch.dtype], ModuleType | None] = {}
"""The kernels by index of the device and type of the numbers, None where they cannot be used."""


def _examined(device: torch.device, dtype: torch.dtype) -> tuple[ModuleType | None, str]:
    """Returns the kernels, or the reason why they cannot be used.

    A thread has no ``torch.func`` transform, no autocast and no inference mode, whatever is active where it starts.
    """
    results: list[tuple[ModuleType | None, str]] = []

    def examine() -> None:
        try:
            from gls_lightning.bounds.kernels import _triton_forms as kernels

            with torch.cuda.device(device):
                difference = difference_from_plain_forms(kernels, device, dtype)
            results.append((None, difference) if difference else (kernels, ""))
        except Exception as error:  # of an installation, a compiler, a driver: all of them leave the plain forms
            results.append((None, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))

    thread = Thread(target=examine)
    thread.start()
    thread.join()
    return results[0]


def difference_from_plain_forms(kernels: Any, device: torch.device, dtype: torch.dtype) -> str:
    """Names the first result or gradient of the kernels that differs from that of the plain forms; empty if none does.

    The plain forms run in float64, which TensorFloat-32 does not touch.
    """
    for shared in (False, True):
        rows, *lines = _case(device, dtype, shared)
        for name, ours, plain, inputs in (
            ("relax", kernels.relax, PlainRelax.apply, (rows, *lines)),
            ("absolute_dot", kernels.absolute_dot, PlainAbsoluteDot.apply, (rows, lines[0])),
        ):
            for over_members in (False, True):
                found = _results(ours, inputs, over_members)
                expected = _results(plain, [tensor.double() for tensor in inputs], over_members)
                if not all(map(_are_equal, found, expected)):
                    return f"{name} or its gradient differs from the plain form"
        rows, slope = rows.detach(), lines[0].detach()
        if (kernels.relax(rows, slope, -slope, slope)[0] * (rows > 0)).any():
            return "products that cancel are not 0"
    return ""


def _case(device: torch.device, dtype: torch.dtype, shared: bool) -> list[Tensor]:
    """Returns rows and three lines whose sizes are no multiples of a block's."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = [(1, 1, 19, 150) if shared else (2, 3, 19, 150)] + 3 * [(2, 3, 1, 150) if shared else (2, 1, 1, 150)]
    return [torch.randn(shape, dtype=dtype, device=device, generator=generator) for shape in shapes]


def _results(function: Callable[..., Any], inputs: Sequence[Tensor], over_members: bool) -> list[Tensor]:
    """Returns results and gradients of a function, for one set of arguments or two with the same rows."""
    rows, *lines = (tensor.detach().requires_grad_() for tensor in inputs)
    if over_members:
        stacks = [torch.stack([line, 2 * line]) for line in lines]
        results = torch.func.vmap(function, (None, *(0 for _ in lines)))(rows, *stacks)
    else:
        results = function(rows, *lines)
    results = [results] if isinstance(results, Tensor) else [*results]
    directions = [torch.linspace(-1, 2, r.numel(), dtype=r.dtype, device=r.device).view_as(r) for r in results]
    return [*results, *torch.autograd.grad(results, (rows, *lines), directions)]


def _are_equal(found: Tensor, expected: Tensor) -> bool:
    tolerance = 1000 * torch.finfo(found.dtype).eps * expected.abs().max()
    return found.shape == expected.shape and bool(((found - expected).abs() <= tolerance).all())
