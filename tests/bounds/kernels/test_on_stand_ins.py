"""Operations that run on CUDA, seen on PyTorch's stand-ins for its tensors, for which no card is needed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning.bounds import Box, trace
from gls_lightning.networks import CNN5
from gls_lightning.relaxations import DeepPoly

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="stand-ins are for machines without a card")


class Convolutions(TorchDispatchMode):
    """Counts convolutions by kind, and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            func is torch.ops.aten.convolution.default and args[0].device.type == "cuda"
        ):  # a plan of memory is on "meta"
            transposed, groups = args[6], args[8]
            self.seen["transposed" if transposed else "grouped" if groups > 1 else "plain"] += 1
        elif func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            self.seen["products"] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def tf32(products: str, convolutions: str) -> Iterator[None]:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend, precision in zip(backends, (products, convolutions), strict=True):
            backend.fp32_precision = precision
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def deep_poly(network: nn.Module, shape: torch.Size, members: int = 0) -> Counter[str]:
    """Counts what bounding a batch takes, by the members of a population at once if there are any."""
    graph = trace(network, shape)
    with FakeTensorMode(allow_non_fake_inputs=True), Convolutions() as seen:
        leading = (members,) if members else ()
        tensors = {n: torch.randn(*leading, *p.shape, device="cuda") for n, p in network.named_parameters()}
        box = Box.around(torch.rand(2, *shape, device="cuda"), 0.1)
        specification = torch.randn(2, 9, 10, device="cuda")

        def bounds(tensors: dict[str, Tensor]) -> Tensor:
            return DeepPoly(memory_budget=1000)(graph, tensors, box, specification)

        lower = torch.func.vmap(bounds)(tensors) if members else bounds(tensors)
        assert (lower.device.type, lower.shape) == ("cuda", (*leading, 2, 9))
    return seen.seen


MNIST = torch.Size((1, 28, 28))


def dilated() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 1, 2, dilation=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(10),
    )


@pytest.mark.parametrize("network", [CNN5, dilated])
@pytest.mark.parametrize(("products", "convolutions"), [("ieee", "ieee"), ("tf32", "ieee"), ("ieee", "tf32")])
def test_cudnn_transposes_only_in_tf32(network: Any, products: str, convolutions: str) -> None:
    torch.manual_seed(0)
    network = network()
    network(torch.zeros(1, *MNIST))
    with tf32(products, convolutions):
        seen = deep_poly(network, MNIST)
    assert bool(seen["transposed"]) == (convolutions == "tf32" and type(network) is not CNN5)


def test_products_in_tf32_replace_the_convolutions_of_rows() -> None:
    with tf32("tf32", "tf32"):
        assert deep_poly(CNN5(), MNIST)["plain"] == 3  # of the reference values; its bounds need none


def test_a_population_has_no_grouped_convolutions() -> None:
    with tf32("ieee", "tf32"):
        seen = deep_poly(CNN5(), MNIST, members=3)
    assert not seen["grouped"]
    assert not seen["transposed"]
    assert seen["plain"] == 1  # of the first layer, whose input is the same for all members
