"""The kernels in Triton as differentiable functions.

Tensors have a dimension of members in front, 1 where ``torch.func.vmap`` does not run. One ``vmap`` becomes that
dimension; below a second one, and for second derivatives, operations of PyTorch do the same.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from gls_lightning.bounds.kernels import _triton_kernels as kernels
from gls_lightning.bounds.kernels.banded_product import MatrixBand, banded_product, product_of_rows
from gls_lightning.bounds.kernels.plain_forms import plain_absolute_dot, plain_relax

BLOCK = 16, 128
"""Rows and columns of the blocks that forward kernels go through."""

BLOCK_BACKWARD = 8, 128
"""Blocks of backward kernels, which keep three sums for each element."""

LARGE_TILE, SMALL_TILE = (128, 32, 128), (64, 32, 64)
"""Rows, elements and columns of the blocks of a product; the small ones where there are fewer rows."""

Places = tuple[int, int, int]
"""Numbers of members, samples and positions."""


def relax(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Relaxes rows; see :func:`gls_lightning.bounds.kernels.relax`."""
    values, constant = Relax.apply(*(tensor.unsqueeze(0) for tensor in (rows, slope, narrowing, gap)))
    return values.squeeze(0), constant.squeeze(0)


def absolute_dot(rows: Tensor, radius: Tensor) -> Tensor:
    """Sums absolute products; see :func:`gls_lightning.bounds.kernels.absolute_dot`."""
    return AbsoluteDot.apply(rows.unsqueeze(0), radius.unsqueeze(0)).squeeze(0)  # type: ignore[no-any-return]


def relaxed_product(
    rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor, matrix: Tensor, band: MatrixBand, precision: str
) -> tuple[Tensor, Tensor]:
    """Relaxes and multiplies; see :func:`gls_lightning.bounds.kernels.relaxed_product`.

    The rows are read as often as there are blocks of columns whose band they lie in, mostly from the cache, and the
    relaxed ones are not written. Backwards they are written once, for the gradient of the matrix.
    """
    tensors = (tensor.unsqueeze(0) for tensor in (rows, slope, narrowing, gap, matrix))
    product, constant = _relaxed_product(*tensors, band=band, precision=precision)
    return product.squeeze(0), constant.squeeze(0)


class Relax(torch.autograd.Function):
    """Relaxes rows ``[M, B, P, S, K]``; every size of places may be 1."""

    @staticmethod
    def forward(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        places, (size, length) = _places(rows, slope, narrowing, gap), rows.shape[3:]
        values, constant = rows.new_empty(*places, size, length), rows.new_empty(*places, size)
        strides = *_strides(rows, places), *_strides_of_lines((slope, narrowing, gap), places)
        tensors = rows, slope, narrowing, gap, values, constant
        programs = prod(places) * -(-size // BLOCK[0])
        _launch(kernels.relax_forward, programs, tensors, (*places[1:], size, length, *strides), BLOCK)
        return values, constant

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_constant: Tensor) -> tuple[Tensor, ...]:
        return _summed(_RelaxBackward.apply(*ctx.saved_tensors, grad, grad_constant), ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:
        return _over_members(Relax.apply, _over_first(plain_relax), in_dims, tensors)


class _RelaxBackward(torch.autograd.Function):
    """Gradients of rows, slope, narrowing and gap, summed over shared samples and positions, not members."""

    @staticmethod
    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        rows, slope, narrowing, gap, grad, grad_constant = inputs
        places, (size, length) = _places(*inputs), rows.shape[3:]
        grads = rows.new_empty(*places, size, length), *rows.new_empty(3, *places, 1, length).unbind()
        of_lines = _strides_of_lines((slope, narrowing, gap), places)
        of_grads = *_strides(grad, places), *_strides(grad_constant, places)
        strides = *_strides(rows, places), *of_lines, *of_grads
        programs = prod(places) * -(-length // BLOCK_BACKWARD[1])
        numbers = *places[1:], size, length, *strides
        _launch(kernels.relax_backward, programs, (*inputs, *grads), numbers, BLOCK_BACKWARD)
        return tuple(_summed_inside(g, like) for g, like in zip(grads, inputs[:4], strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return _second_derivatives(_relax_gradients, ctx.saved_tensors, grads)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:
        return _over_members(_RelaxBackward.apply, _relax_gradients, in_dims, tensors)


class AbsoluteDot(torch.autograd.Function):
    """Sums ``|rows| [M, B, P, S, K] * radius [M, B, P, 1, K]`` over ``K``; every size of places may be 1."""

    @staticmethod
    def forward(rows: Tensor, radius: Tensor) -> Tensor:
        places, (size, length) = _places(rows, radius), rows.shape[3:]
        sums = rows.new_empty(*places, size)
        numbers = *places[1:], size, length, *_strides(rows, places), *_strides_of_lines((radius,), places)
        programs = prod(places) * -(-size // BLOCK[0])
        _launch(kernels.absolute_dot_forward, programs, (rows, radius, sums), numbers, BLOCK)
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return _summed(_AbsoluteDotBackward.apply(*ctx.saved_tensors, grad), ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:
        return _over_members(AbsoluteDot.apply, _over_first(plain_absolute_dot), in_dims, tensors)


class RelaxedProduct(torch.autograd.Function):
    """Relaxes rows ``[M, B, P, S, K]`` and multiplies them by ``matrix [M, K, L]``; every size of places may be 1."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, matrix, band, precision = inputs
        places = _places(*tensors, matrix[:, None, None])
        (size, length), columns = tensors[0].shape[3:], matrix.shape[-1]
        product, constant = matrix.new_empty(*places, size, columns), matrix.new_empty(*places, size)
        by_column = matrix.mT.contiguous().mT.expand(places[0], -1, -1)  # as tensor cores read it
        of_rows = *_strides(tensors[0], places), *_strides_of_lines(tensors[1:], places)
        of_band = band.outputs, length // band.outputs, columns // band.inputs, *band[2:]
        numbers = *places[1:], size, length, columns, *of_rows, *by_column.stride(), *of_band
        block, warps = (LARGE_TILE, 8) if size >= LARGE_TILE[0] else (SMALL_TILE, 4)
        programs = prod(places) * -(-size // block[0]) * -(-columns // block[2])
        options = {"precision": precision, "block_l": block[2], "num_warps": warps}
        _launch(
            kernels.relaxed_product, programs, (*tensors, by_column, product, constant), numbers, block[:2], **options
        )
        return product, constant

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.band, _ = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_constant: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, matrix = ctx.saved_tensors
        members, *places = grad.shape[:3]
        flat_grad, of_all = grad.flatten(1, 3), matrix.expand(members, -1, -1)
        grad_values = banded_product(flat_grad, of_all, ctx.band, transposed=True).unflatten(1, grad.shape[1:4])
        grads = _RelaxBackward.apply(*tensors, grad_values, grad_constant)
        grad_matrix = None
        if ctx.needs_input_grad[4]:  # the relaxed rows once more, which were not kept
            values = Relax.apply(*tensors)[0].expand(members, *places, -1, -1).flatten(1, 3)
            grad_matrix = product_of_rows(values, flat_grad, ctx.band).sum_to_size(matrix.shape)
        return *_summed(grads, tensors), grad_matrix, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        *tensors, band, precision = inputs
        function = partial(_relaxed_product, band=band, precision=precision)
        return _over_members(function, _plain_relaxed_product, in_dims[:5], tensors)


def _relaxed_product(*tensors: Tensor, band: MatrixBand, precision: str) -> Any:
    return RelaxedProduct.apply(*tensors, band, precision)


def _plain_relaxed_product(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    rows, slope, narrowing, gap, matrix = tensors
    positive = rows.clamp_min(0)
    return (rows * slope + positive * narrowing) @ matrix[:, None, None], -(positive * gap).sum(-1)


class _AbsoluteDotBackward(torch.autograd.Function):
    """Gradients of rows and radius, summed over shared samples and positions, not members."""

    @staticmethod
    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        rows, radius, grad = inputs
        places, (size, length) = _places(*inputs), rows.shape[3:]
        grads = rows.new_empty(*places, size, length), rows.new_empty(*places, 1, length)
        strides = *_strides(rows, places), *_strides_of_lines((radius,), places), *_strides(grad, places)
        programs = prod(places) * -(-length // BLOCK_BACKWARD[1])
        numbers = *places[1:], size, length, *strides
        _launch(kernels.absolute_dot_backward, programs, (*inputs, *grads), numbers, BLOCK_BACKWARD)
        return tuple(_summed_inside(g, like) for g, like in zip(grads, inputs[:2], strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return _second_derivatives(_absolute_dot_gradients, ctx.saved_tensors, grads)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Any, Any]:
        return _over_members(_AbsoluteDotBackward.apply, _absolute_dot_gradients, in_dims, tensors)


def _relax_gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
    rows, slope, narrowing, gap, grad, grad_constant = inputs
    of_constant, positive = grad_constant.unsqueeze(-1), (rows > 0).to(rows.dtype)
    by_row = grad * rows
    grads = (
        grad * (slope + positive * narrowing) - of_constant * positive * gap,
        by_row.sum(-2, keepdim=True),
        (by_row * positive).sum(-2, keepdim=True),
        -(of_constant * rows * positive).sum(-2, keepdim=True),
    )
    return tuple(_summed_inside(g, like) for g, like in zip(grads, inputs[:4], strict=True))


def _absolute_dot_gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
    rows, radius, grad = inputs
    of_sum = grad.unsqueeze(-1)
    grads = of_sum * radius * rows.sign(), (of_sum * rows.abs()).sum(-2, keepdim=True)
    return tuple(_summed_inside(g, like) for g, like in zip(grads, inputs[:2], strict=True))


def _second_derivatives(
    gradients: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    differentiate: Callable[..., tuple[Tensor, ...]] = torch.func.vjp(gradients, *inputs)[1]
    return differentiate(grads)


def _over_members(
    function: Callable[..., Any], plain: Callable[..., Any], in_dims: Sequence[int | None], tensors: Sequence[Tensor]
) -> tuple[Any, Any]:
    """Applies a function to a batch of its arguments; returns results and their batch dimension, 0."""
    fronted = [t if dim is None else t.movedim(dim, 0) for t, dim in zip(tensors, in_dims, strict=True)]
    dims = tuple(None if dim is None else 0 for dim in in_dims)
    if any(t.shape[0 if dim is None else 1] > 1 for t, dim in zip(fronted, dims, strict=True)):
        results = torch.func.vmap(plain, dims)(*fronted)
        return results, (0 if isinstance(results, Tensor) else (0,) * len(results))
    results = function(*(t if dim is None else t.squeeze(1) for t, dim in zip(fronted, dims, strict=True)))
    if isinstance(results, Tensor):
        return results.unsqueeze(1), 0
    return tuple(result.unsqueeze(1) for result in results), (0,) * len(results)


def _over_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with a dimension of members, more than 1 of one argument at least."""

    def over_first(*tensors: Tensor) -> Any:
        dims = tuple(None if len(tensor) == 1 else 0 for tensor in tensors)
        return torch.func.vmap(function, dims)(*(t.squeeze(0) if len(t) == 1 else t for t in tensors))

    return over_first


def _places(*tensors: Tensor) -> Places:
    members, samples, positions = torch.broadcast_shapes(*(tensor.shape[:3] for tensor in tensors))
    return members, samples, positions


def _strides(tensor: Tensor, places: Places) -> tuple[int, ...]:
    """Returns the strides of a tensor that is the same, at a stride of 0, wherever it has one place for several."""
    return tensor.expand(*places, *tensor.shape[3:]).stride()


def _strides_of_lines(lines: Sequence[Tensor], places: Places) -> tuple[int, ...]:
    expanded = (_strides(line, places) for line in lines)
    return tuple(stride for strides in expanded for stride in (*strides[:3], strides[4]))


def _summed_inside(grad: Tensor, like: Tensor) -> Tensor:
    return grad.sum_to_size(len(grad), *like.shape[1:])


def _summed(grads: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(grad.sum_to_size(like.shape) for grad, like in zip(grads, inputs, strict=True))


def _launch(
    kernel: Any,
    programs: int,
    tensors: Sequence[Tensor],
    numbers: Sequence[int],
    block: Sequence[int],
    **options: Any,
) -> None:
    if programs:
        with _on(tensors[0].device):
            kernel[(programs,)](*tensors, *numbers, block_s=block[0], block_k=block[1], **options)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()  # the interpreter runs on a CPU
