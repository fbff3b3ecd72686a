"""The forms of the transposed convolution against autograd's gradient of the convolution, and the choice of a form."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gls_lightning.bounds._tensor_float import FULL_PRECISION, TensorFloat32
from gls_lightning.bounds._windows import Pair
from gls_lightning.bounds.rows import Geometry, convolved_by_matrix, transposed_convolution
from gls_lightning.bounds.rows.convolution_matrix import transposed_by_matrix
from gls_lightning.bounds.rows.transposed_convolution import (
    Form,
    form_of,
    joins,
    transposed_by_library,
    transposed_by_place,
)

KERNELS = [(4, 4), (5, 5), (3, 2), (1, 1), (2, 2), (1, 4)]
STRIDES = [(1, 1), (2, 2), (3, 3), (2, 3), (4, 1)]
PADDINGS = [(0, 0), (1, 1), (2, 3), (3, 0)]
SIZES = [(9, 8), (7, 7), (3, 10)]


def tensors(kernel: Pair, size: Pair, channels: int, groups: int) -> tuple[Tensor, Tensor]:
    """A kernel and an input of the convolution."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * groups, channels // groups, *kernel, dtype=torch.double, generator=generator)
    return weight.requires_grad_(), torch.randn(2, channels, *size, dtype=torch.double, generator=generator)


def geometries(kernel: Pair, dilation: Pair) -> Iterator[tuple[Pair, Pair, Pair]]:
    """Strides, paddings and sizes at which the kernel fits the padded map at least once."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    for stride, padding, size in product(STRIDES, PADDINGS, SIZES):
        if all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True)):
            yield stride, padding, size


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (1, 1), (4, 2), (2, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_it_is_the_gradient_of_the_convolution(kernel: Pair, dilation: Pair, channels: int, groups: int) -> None:
    """Also where the last rows are unread, the stride skips rows, and the padding is beyond the kernel."""
    for stride, padding, size in geometries(kernel, dilation):
        weight, x = tensors(kernel, size, channels, groups)
        y = F.conv2d(x.requires_grad_(), weight, None, stride, padding, dilation, groups)
        maps = torch.randn_like(y).requires_grad_()
        (expected,) = torch.autograd.grad(y, x, maps, create_graph=True)
        ours = transposed_convolution(maps, weight, stride, padding, dilation, size, groups)
        torch.testing.assert_close(ours, expected)
        direction = torch.randn_like(expected)
        gradients = torch.autograd.grad(ours, (maps, weight), direction)
        torch.testing.assert_close(gradients, torch.autograd.grad(expected, (maps, weight), direction))


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_can_be_differentiated_again(groups: int) -> None:
    weight, _ = tensors((3, 2), (6, 5), 2, groups)
    maps = torch.randn(1, 2 * groups, 3, 4, dtype=torch.double, requires_grad=True)

    def transposed(maps: Tensor, weight: Tensor) -> Tensor:
        return transposed_convolution(maps, weight, (2, 1), (1, 0), (1, 1), (6, 5), groups)

    assert torch.autograd.gradgradcheck(transposed, (maps, weight))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_order_in_memory_changes_nothing(memory_format: torch.memory_format) -> None:
    weight, _ = tensors((4, 4), (8, 8), 4, 2)
    maps = torch.randn(2, 4, 4, 4, dtype=torch.double)
    expected = F.conv_transpose2d(maps, weight, None, 2, 1, groups=2)
    maps, weight = (t.to(memory_format=memory_format) for t in (maps, weight))
    torch.testing.assert_close(transposed_convolution(maps, weight, (2, 2), (1, 1), (1, 1), (8, 8), 2), expected)


@pytest.mark.parametrize("dilation", [(1, 1), (2, 2)], ids=str)
@pytest.mark.parametrize("maps_too", [False, True])
def test_vmap_over_kernels_equals_the_loop(dilation: Pair, maps_too: bool) -> None:
    kernels = torch.stack([tensors((3, 3), (9, 7), 4, 2)[0].detach() * (i + 1) for i in range(3)])
    x = torch.zeros(2, 4, 9, 7, dtype=torch.double)
    shape = F.conv2d(x, kernels[0], None, (2, 1), (1, 1), dilation, 2).shape
    maps = torch.randn(3, *shape, dtype=torch.double) if maps_too else torch.randn(shape, dtype=torch.double)

    def loss(maps: Tensor, kernel: Tensor) -> Tensor:
        return transposed_convolution(maps, kernel, (2, 1), (1, 1), dilation, (9, 7), 2).sin().sum()

    value_and_gradients = torch.func.grad_and_value(loss, argnums=(0, 1))
    together = torch.func.vmap(value_and_gradients, (0 if maps_too else None, 0))(maps, kernels)
    for i, kernel in enumerate(kernels):
        leaves = (maps[i] if maps_too else maps).clone().requires_grad_(), kernel.clone().requires_grad_()
        value = loss(*leaves)
        gradients, values = together
        torch.testing.assert_close(values[i], value)
        torch.testing.assert_close([g[i] for g in gradients], list(torch.autograd.grad(value, leaves)))


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def convolutions(draw: st.DrawFn) -> Geometry:
    """Sizes of convolutions whose kernel fits the padded map at least once."""
    kernel, stride, padding, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 3)), draw(pairs(1, 2))
    size, groups = draw(pairs(1, 9)), draw(st.integers(1, 2))
    channels = draw(st.integers(1, 2)) * groups, draw(st.integers(1, 2)) * groups
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    length = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(size, padding, reach, stride, strict=True)]
    assume(all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True)))
    return Geometry(channels, (length[0], length[1]), kernel, stride, padding, dilation, size, groups)


def convolve(x: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    return F.conv2d(x, kernel, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)


@settings(deadline=None)
@given(convolutions())
def test_every_form_is_the_gradient_of_the_convolution(geometry: Geometry) -> None:
    outputs, inputs = geometry.channels
    kernel = torch.randn(outputs, inputs // geometry.groups, *geometry.kernel, dtype=torch.double).requires_grad_()
    x = torch.randn(2, inputs, *geometry.size, dtype=torch.double).requires_grad_()
    y = convolve(x, kernel, geometry)
    assert Geometry.of(kernel, tuple(y.shape[2:]), *geometry[3:]) == geometry
    maps = torch.randn_like(y).requires_grad_()
    (expected,) = torch.autograd.grad(y, x, maps, create_graph=True)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (maps, kernel), direction)
    for form in (transposed_by_library, transposed_by_place, transposed_by_matrix):
        found = form(maps, kernel, geometry)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, (maps, kernel), direction), gradients)


@settings(deadline=None)
@given(convolutions())
def test_a_convolution_is_a_product_with_its_matrix(geometry: Geometry) -> None:
    outputs, inputs = geometry.channels
    kernel = torch.randn(outputs, inputs // geometry.groups, *geometry.kernel, dtype=torch.double).requires_grad_()
    x = torch.randn(3, inputs, *geometry.size, dtype=torch.double).requires_grad_()
    found, expected = convolved_by_matrix(x, kernel, geometry), convolve(x, kernel, geometry)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    gradients = (torch.autograd.grad(result, (x, kernel), direction) for result in (found, expected))
    torch.testing.assert_close(*gradients)


def test_products_with_matrices_batch_over_kernels_and_maps() -> None:
    geometry = Geometry((4, 2), (4, 3), (3, 3), (2, 2), (1, 1), (1, 1), (7, 6), 2)
    kernels = torch.randn(3, 4, 1, 3, 3, dtype=torch.double)
    x = torch.randn(3, 5, 2, 7, 6, dtype=torch.double)
    maps = torch.randn(5, 4, 4, 3, dtype=torch.double)
    together = torch.func.vmap(lambda x, kernel: convolved_by_matrix(x, kernel, geometry))(x, kernels)
    back = torch.func.vmap(lambda kernel: transposed_by_matrix(maps, kernel, geometry))(kernels)
    for i, kernel in enumerate(kernels):
        torch.testing.assert_close(together[i], convolve(x[i], kernel, geometry))
        torch.testing.assert_close(back[i], transposed_by_library(maps, kernel, geometry))


FIRST = Geometry((16, 1), (14, 14), (5, 5), (2, 2), (2, 2), (1, 1), (28, 28), 1)  # of CNN5
DILATED = Geometry((16, 16), (12, 12), (3, 3), (1, 1), (2, 2), (2, 2), (12, 12), 1)
WIDE = Geometry((64, 64), (32, 32), (3, 3), (1, 1), (1, 1), (1, 1), (32, 32), 1)  # its matrix has 4 billion elements
WIDE_DILATED = WIDE._replace(dilation=(2, 2), padding=(2, 2))
NONE, CONVOLUTIONS, ALL = FULL_PRECISION, TensorFloat32(False, True), TensorFloat32(True, True)


@pytest.mark.parametrize(
    ("device", "dtype", "tf32", "geometry", "batched", "form"),
    [
        ("cpu", torch.float32, ALL, FIRST, False, "by place"),
        ("cpu", torch.float32, NONE, FIRST, True, "by place"),
        ("cpu", torch.float64, NONE, DILATED, False, "library"),
        ("meta", torch.float32, ALL, FIRST, False, "library"),
        ("cuda", torch.float32, NONE, FIRST, False, "by place"),  # as certification runs
        ("cuda", torch.float64, ALL, FIRST, False, "by place"),
        ("cuda", torch.float32, CONVOLUTIONS, FIRST, False, "by place"),  # PyTorch's default
        ("cuda", torch.float32, ALL, FIRST, False, "matrix"),
        ("cuda", torch.float32, ALL, WIDE, False, "by place"),
        ("cuda", torch.float32, NONE, FIRST, True, "matrix"),
        ("cuda", torch.float64, NONE, FIRST, True, "matrix"),
        ("cuda", torch.float32, NONE, WIDE, True, "by place"),
        ("cuda", torch.float32, NONE, DILATED, False, "matrix"),
        ("cuda", torch.float32, CONVOLUTIONS, DILATED, False, "library"),
        ("cuda", torch.float64, ALL, DILATED, False, "matrix"),
        ("cuda", torch.float32, NONE, WIDE_DILATED, False, "by place"),
        ("cuda", torch.float32, CONVOLUTIONS, WIDE_DILATED, True, "by place"),
    ],
)
def test_choice_of_a_form(
    device: str, dtype: torch.dtype, tf32: TensorFloat32, geometry: Geometry, batched: bool, form: Form
) -> None:
    assert form_of(device, dtype, tf32, geometry, batched=batched) == form


@settings(deadline=None)
@given(convolutions(), st.sampled_from([torch.float32, torch.float64]), st.booleans(), st.booleans())
def test_cudnn_never_transposes_without_tf32(
    geometry: Geometry, dtype: torch.dtype, products: bool, batched: bool
) -> None:
    tf32 = TensorFloat32(products, convolutions=dtype == torch.float64)
    assert form_of("cuda", dtype, tf32, geometry, batched=batched) != "library"


def test_settings_are_read_however_they_were_made() -> None:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [backend.fp32_precision for backend in backends]
    try:
        for products, convolutions in ((False, True), (True, False), (True, True)):
            for backend, allowed in zip(backends, (products, convolutions), strict=True):
                backend.fp32_precision = "tf32" if allowed else "ieee"
            assert TensorFloat32.current() == (products, convolutions)
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def test_few_rows_or_full_precision_are_not_joined() -> None:
    assert joins(torch.float32, ALL, FIRST, rows=64, batched=False)
    assert joins(torch.float32, ALL, FIRST, rows=64, batched=True)
    assert not joins(torch.float32, ALL, FIRST, rows=9, batched=False)
    assert not joins(torch.float64, ALL, FIRST, rows=64, batched=False)
    assert not joins(torch.float32, CONVOLUTIONS, FIRST, rows=64, batched=True)
    assert not joins(torch.float32, ALL, WIDE, rows=64, batched=True)
