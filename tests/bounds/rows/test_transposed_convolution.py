"""The transposed convolution against autograd's gradient of the convolution."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds._windows import Pair
from gls_lightning.bounds.rows import transposed_convolution

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
