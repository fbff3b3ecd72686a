"""The kernels in Triton's interpreter, on a CPU, against the plain forms; `test_triton_kernels.py` runs this file."""

import os
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gls_lightning.bounds.kernels import WHOLE, MatrixBand
from gls_lightning.bounds.kernels import _triton_forms as kernels
from gls_lightning.bounds.kernels.choice import Name, difference_from_plain_form
from gls_lightning.bounds.kernels.plain_forms import plain_absolute_dot, plain_relax, plain_relaxed_product
from gls_lightning.bounds.rows import Geometry, convolution_matrices

assert os.environ.get("TRITON_INTERPRET") == "1", "Triton reads it when it is imported"

CPU = torch.device("cpu")
few = partial(settings, deadline=None, derandomize=True)


@st.composite
def arguments(draw: st.DrawFn, lines: int) -> list[Tensor]:
    """Rows, 0 and huge ones among them, and lines, with sizes of 1 where they are shared."""
    batch, positions, size = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 7, 17, 33]))
    length = draw(st.sampled_from([1, 3, 127, 130, 256]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    tensors = []
    for i in range(1 + lines):
        leading = draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, positions]))
        tensor = torch.randn(*leading, size if i == 0 else 1, length, dtype=dtype, generator=generator)
        kind = torch.randint(5, tensor.shape, generator=generator)
        tensor = tensor.masked_fill(kind == 0, 0.0).masked_fill(kind == 1, -0.0)
        tensors.append(tensor * torch.where(kind == 2, 1e4, 1.0).to(dtype))
    if draw(st.booleans()):  # an order in memory in which the elements are not next to each other
        tensors[0] = tensors[0].mT.contiguous().mT
    return tensors


def assert_same(
    ours: object, plain: object, inputs: Sequence[Tensor], precision: float | None = None, seed: int = 0
) -> None:
    """Compares values and gradients with those of the plain form in float64."""
    found = values_and_gradients(ours, inputs, seed)
    expected = values_and_gradients(plain, [tensor.double() for tensor in inputs], seed)
    for ours_, plain_ in zip(found, expected, strict=True):
        assert ours_.shape == plain_.shape
        ours_, plain_ = ours_.detach(), plain_.detach()
        scale = plain_.abs().max() if plain_.numel() else 0.0
        precision = precision or 100 * torch.finfo(ours_.dtype).eps
        torch.testing.assert_close(ours_.double(), plain_, rtol=0, atol=float(precision * scale))


def relax_with_lines_alike(rows: Tensor, *lines: Tensor) -> tuple[Tensor, Tensor]:
    """The plain form, which takes lines of one shape."""
    return plain_relax(rows, *torch.broadcast_tensors(*lines))


def values_and_gradients(function: object, inputs: Sequence[Tensor], seed: int) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    results = function(*leaves)  # type: ignore[operator]
    results = [results] if isinstance(results, Tensor) else [*results]
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(r.shape, dtype=torch.double, generator=generator).to(r.dtype) for r in results]
    return [*results, *torch.autograd.grad(results, leaves, directions)]


@few(max_examples=15)
@given(arguments(lines=3))
def test_relax(inputs: list[Tensor]) -> None:
    assert_same(kernels.relax, relax_with_lines_alike, inputs)


@few(max_examples=12)
@given(arguments(lines=1))
def test_absolute_dot(inputs: list[Tensor]) -> None:
    assert_same(kernels.absolute_dot, plain_absolute_dot, inputs)


@few(max_examples=6)
@given(arguments(lines=1))
def test_products_that_cancel_are_zero(inputs: list[Tensor]) -> None:
    rows, slope = inputs
    values, _ = kernels.relax(rows, slope, -slope, slope)
    assert not (values * (rows > 0)).any()


def test_zero_coefficients_have_the_slope_of_the_line_above() -> None:
    rows = torch.zeros(1, 1, 3, 5, requires_grad=True)
    slope, narrowing, gap = (torch.randn(2, 3, 1, 5) for _ in range(3))
    values, constant = kernels.relax(rows, slope, narrowing, gap)
    assert not values.any()
    assert not constant.any()
    (gradient,) = torch.autograd.grad((values.sum(), constant.sum()), rows)
    torch.testing.assert_close(gradient, slope.sum((0, 1)).expand(1, 1, 3, 5))
    (gradient,) = torch.autograd.grad(kernels.absolute_dot(rows, gap).sum(), rows)
    assert not gradient.any()


def test_no_rows_and_no_elements() -> None:
    for size, length in ((0, 5), (3, 0)):
        rows, line = torch.ones(2, 1, size, length), torch.ones(2, 1, 1, length)
        assert_same(kernels.relax, plain_relax, [rows, line, line, line])
        assert_same(kernels.absolute_dot, plain_absolute_dot, [rows, line])


def test_not_a_number_stays_one() -> None:
    rows, line = torch.tensor([[[[1.0, float("nan")]]]]), torch.ones(1, 1, 1, 2)
    assert kernels.relax(rows, line, line, line)[0].isnan().tolist() == [[[[False, True]]]]
    assert kernels.absolute_dot(rows, line).isnan().all()


@st.composite
def products(draw: st.DrawFn) -> tuple[list[Tensor], MatrixBand]:
    """Rows over the output of a convolution, lines, and the convolution's matrix."""
    pair = partial(draw, st.tuples(st.integers(1, 3), st.integers(1, 3)))
    kernel, stride, dilation, length = pair(), pair(), pair(), pair()
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [(m - 1) * s + r - 2 * p for m, s, r, p in zip(length, stride, reach, padding, strict=True)]
    assume(min(size) > 0)
    channels = draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    weight = torch.randn(*channels, *kernel, generator=generator)
    geometry = Geometry.of(weight, length, stride, padding, dilation, (size[0], size[1]), 1)
    matrix = convolution_matrices(weight, geometry)[0]
    batch, positions, rows = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.sampled_from([1, 65, 130]))
    shapes = [(draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, positions]))) for _ in range(4)]
    sizes = [rows, 1, 1, 1]
    tensors = [
        torch.randn(*shape, number, len(matrix), generator=generator)
        for shape, number in zip(shapes, sizes, strict=True)
    ]
    return [*tensors, matrix], geometry.band if draw(st.booleans()) else WHOLE


@few(max_examples=15)
@given(products())
def test_relaxed_product(drawn: tuple[list[Tensor], MatrixBand]) -> None:
    inputs, band = drawn
    ours = partial(kernels.relaxed_product, band=band, precision="ieee")

    def of_band(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        rows, *lines, matrix = tensors
        return plain_relaxed_product(rows, *torch.broadcast_tensors(*lines), matrix, band=band)

    assert_same(ours, of_band, inputs, 1e-5)


@pytest.mark.parametrize("batched", [(None, 0, 0, 0), (0, 0, 0, 0), (0, None, None, None), (1, 0, None, 2)], ids=str)
@pytest.mark.parametrize("gradient_inside", [True, False])
def test_vmap_equals_the_loop(batched: tuple[int | None, ...], gradient_inside: bool) -> None:
    shapes = [(2, 1, 5, 7), (1, 3, 1, 7), (2, 3, 1, 7), (1, 1, 1, 7)]
    inputs = []
    for shape, dim in zip(shapes, batched, strict=True):
        tensor = torch.randn(3, *shape, dtype=torch.double)
        inputs.append(tensor[0] if dim is None else tensor.movedim(0, dim).contiguous())

    def loss(relax: object, dot: object, *inputs: Tensor) -> Tensor:
        values, constant = relax(*inputs)  # type: ignore[operator]
        later = values + constant.sum() + (dot(inputs[0], inputs[3]) + dot(values, inputs[3])).sum()  # type: ignore[operator]
        return later.sin().sum()

    ours = partial(loss, kernels.relax, kernels.absolute_dot)
    plain = partial(loss, relax_with_lines_alike, plain_absolute_dot)
    if gradient_inside:
        found, expected = (
            torch.func.vmap(torch.func.grad_and_value(f, (0, 1, 2, 3)), batched)(*inputs) for f in (ours, plain)
        )
    else:
        found, expected = (
            torch.func.grad_and_value(lambda *x, f=f: torch.func.vmap(f, batched)(*x).sin().sum(), (0, 1, 2, 3))(
                *inputs
            )
            for f in (ours, plain)
        )
    torch.testing.assert_close(found, expected)


def test_directions_that_all_members_share() -> None:
    rows, lines = torch.randn(2, 1, 5, 7), torch.randn(3, 3, 2, 3, 1, 7)
    of_values, of_sums = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5)

    def gradients(relax: object, dot: object) -> object:
        def of_member(*lines: Tensor) -> object:
            _, back = torch.func.vjp(relax, rows, *lines)  # type: ignore[arg-type]
            _, dot_back = torch.func.vjp(dot, rows, lines[0])  # type: ignore[arg-type]
            return back((of_values, of_sums)), dot_back(of_sums)

        return torch.func.vmap(of_member)(*lines.unbind(1))

    ours, plain = gradients(kernels.relax, kernels.absolute_dot), gradients(plain_relax, plain_absolute_dot)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("matrices_only", [False, True])
def test_products_over_members(matrices_only: bool) -> None:
    band = MatrixBand(2, 4, 2, 1, 4)
    rows, slope, narrowing, gap = torch.randn(2, 1, 5, 6), *torch.randn(3, 3, 2, 1, 1, 6)
    matrices, batched = torch.randn(3, 2, 3, 4, 2), (None, 0, 0, 0, 0)
    matrices[:, 0, :, 3] = matrices[:, 1, :, 0] = 0  # outside the band
    matrices = matrices.flatten(3).flatten(1, 2)
    if matrices_only:
        slope, narrowing, gap, batched = slope[0], narrowing[0], gap[0], (None, None, None, None, 0)

    def loss(product: object, *inputs: Tensor) -> Tensor:
        values, constant = product(*inputs, band=band)  # type: ignore[operator]
        return values.sin().sum() + constant.cos().sum()

    ours = partial(loss, partial(kernels.relaxed_product, precision="ieee"))
    plain = partial(loss, plain_relaxed_product)
    inputs = rows, slope, narrowing, gap, matrices
    gradients = [torch.func.vmap(torch.func.grad(f, (0, 1, 2, 3, 4)), batched)(*inputs) for f in (ours, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_two_vmaps_use_the_plain_form() -> None:
    rows, lines = torch.randn(1, 1, 3, 5, dtype=torch.double), torch.randn(2, 3, 3, 2, 1, 1, 5, dtype=torch.double)

    def both(relax: object) -> object:
        inner = torch.func.vmap(torch.func.grad(lambda *x: relax(*x)[0].sin().sum(), (0, 1, 2)), (None, 0, 0, 0))  # type: ignore[operator]
        return torch.func.vmap(inner, (None, 0, 0, 0))

    torch.testing.assert_close(both(kernels.relax)(rows, *lines.unbind(2)), both(plain_relax)(rows, *lines.unbind(2)))  # type: ignore[operator]


def test_gradients_can_be_differentiated_again() -> None:
    rows, *lines = (torch.randn(2, 1, n, 3, dtype=torch.double, requires_grad=True) for n in (2, 1, 1, 1))
    assert torch.autograd.gradgradcheck(kernels.relax, (rows, *lines), fast_mode=True)
    assert torch.autograd.gradgradcheck(kernels.absolute_dot, (rows, lines[0]), fast_mode=True)


@pytest.mark.parametrize("name", ["relax", "absolute_dot", "relaxed_product"])
def test_the_check_before_the_first_use_passes(name: Name) -> None:
    assert difference_from_plain_form(name, kernels, CPU, torch.float32) == ""


def test_offsets_beyond_32_bits() -> None:
    """Rows at a distance of 2**30 elements, in memory that is reserved but never touched in between."""
    storage = torch.empty(3 * 2**30 + 5, dtype=torch.float32)
    rows = storage.as_strided((4, 1, 1, 5), (2**30, 5, 5, 1))
    rows.copy_(torch.randn(4, 1, 1, 5))
    line = torch.randn(1, 1, 1, 5)
    torch.testing.assert_close(kernels.absolute_dot(rows, line), plain_absolute_dot(rows, line))
