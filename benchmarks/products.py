"""Measures bounds by IBP and CROWN-IBP, gradients included, against the matrix products that they cannot do without.

    python benchmarks/products.py

Of each layer but the last, IBP needs one product for the centres and one for the radii of the boxes; of the last one,
merged with the specification, a product of the rows with the weights and one with the centres and with the radii each.
CROWN-IBP needs the boxes of all layers but the last, the rows' products with the transpose of every layer, and the
reference values of all layers but the first, whose reference is the centre of its box. The products are taken alone,
with their gradients, in turn with the bounds, in one process and one thread; float32, random weights and images. One
JSON line per network and method, CPU milliseconds per image and the ratio of the medians.
"""

import json
import os
import statistics
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import torch.nn.functional as F
from timing import cpu_ms
from torch import Tensor, nn

from gls_lightning import networks, relaxations
from gls_lightning.allocation import keep_freed_memory
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.bounds._windows import pair
from gls_lightning.bounds.rows import transposed_convolution

BATCH_SIZES = {"CNN3": 128, "CNN5": 32}
STEPS = 9


def layers_of(network: nn.Module, x: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """Linear and convolutional layers with their inputs for the batch ``x``."""
    found = []
    for layer in network.children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            found.append((layer, x.detach().requires_grad_(bool(found))))
        x = layer(x)
    return found


def through(layer: nn.Module, rows: Tensor, size: torch.Size) -> Tensor:
    """The product of rows ``[N, *output]`` with the transpose of a layer."""
    if isinstance(layer, nn.Linear):
        return rows @ layer.weight
    geometry = pair(layer.stride), pair(layer.padding), pair(layer.dilation)
    return transposed_convolution(rows, layer.weight, *geometry, pair(size[2:]), layer.groups)


def channels_last(maps: Tensor) -> Tensor:
    """In the order in which convolutions are fastest; vectors as they are."""
    return maps.contiguous(memory_format=torch.channels_last) if maps.ndim == 4 else maps


def products(network: nn.Module, x: Tensor, spec: Tensor, method: str) -> Callable[[], None]:
    """A function that takes the products of a method and their gradients."""
    layers = layers_of(network, x)
    rows, row_shapes = len(x) * spec.shape[1], [(layer, value.shape) for layer, value in layers]
    shapes = [layer(value).shape[1:] for layer, value in layers[:-1]]
    given = [channels_last(torch.randn(rows, *shape)).requires_grad_() for shape in shapes]

    def take() -> None:
        outputs = [spec @ layers[-1][0].weight]
        outputs += [layer(value) for layer, value in layers[:-1] for _ in ("centre", "radius")]
        if method == "IBP":
            outputs += [(outputs[0] @ layers[-1][1].unsqueeze(-1)) for _ in ("centre", "radius")]
        else:
            outputs += [layer(value) for layer, value in layers[1:]]
            outputs += [through(layer, r, shape) for (layer, shape), r in zip(row_shapes[:-1], given, strict=True)]
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    return take


def bounds(network: nn.Module, x: Tensor, spec: Tensor, method: str) -> Callable[[], None]:
    """A function that bounds the margins and takes the gradient of the robust cross-entropy."""
    relaxation, graph = getattr(relaxations, method)(), trace(network, x.shape[1:])
    tensors, box = dict(network.named_parameters()), Box.around(x, 0.1)

    def take() -> None:
        lower = relaxation(graph, tensors, box, spec)
        F.softplus(torch.logsumexp(-lower, dim=1)).mean().backward()

    return take


def measure(name: str, method: str) -> None:
    torch.manual_seed(0)
    network, size = getattr(networks, name)(initialization="default"), BATCH_SIZES[name]
    x, spec = torch.rand(size, 1, 28, 28), margin_specification(torch.randint(10, (size,)), 10)
    sides = {"bounds": bounds(network, x, spec, method), "products": products(network, x, spec, method)}
    times = cpu_ms(sides, STEPS)
    result = {f"{side}_cpu_ms": round(statistics.median(values) / size, 4) for side, values in times.items()}
    ratio = round(result["bounds_cpu_ms"] / result["products_cpu_ms"], 2)
    print(json.dumps({"network": name, "method": method, "batch_size": size} | result | {"ratio": ratio}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()  # as gls does
    for name in BATCH_SIZES:
        for method in ("IBP", "CROWNIBP"):
            measure(name, method)
