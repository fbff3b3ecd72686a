"""IBP, CROWN-IBP and DeepPoly (CROWN) for plain convolutional networks, with dense coefficients.

The textbook algorithm as a good straightforward implementation writes it: the inputs of every ReLU layer but the first
are bounded by back-substituting an identity matrix for the lower and one for the upper bounds to the input box, all
rows of all samples at once, convolutions by ``conv_transpose2d``. ``bounds.py`` compares gls_lightning to it.

Networks are sequences of ``Conv2d`` (zero padding in numbers, no dilation, one group), ``Linear``, ``ReLU`` and
``Flatten``, ending in ``Linear``; each with a bias. Everything is differentiable with respect to the weights. B is the
number of samples, S that of the rows.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Box(NamedTuple):
    """Lower and upper bounds, each of shape [B, ...]."""

    lower: Tensor
    upper: Tensor


class Lines(NamedTuple):
    """``lower_slope * z <= relu(z) <= upper_slope * z + upper_intercept``, each of shape [B, ...]."""

    lower_slope: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor


def ibp(network: nn.Sequential, box: Box, specification: Tensor) -> Tensor:
    """Lower bounds [B, S] of ``specification`` [B, S, K] times the logits, by interval arithmetic."""
    *hidden, output = network
    for layer in hidden:
        box = interval(layer, box)
    assert isinstance(output, nn.Linear)
    weight, bias = specification @ output.weight, specification @ output.bias
    return concretise(weight, bias, box)


def crown_ibp(network: nn.Sequential, box: Box, specification: Tensor) -> Tensor:
    """Lower bounds [B, S], back-substituted once over ReLUs that interval arithmetic bounds."""
    return back_substitute(network, relu_bounds_by_intervals(network, box), box, specification)


def deeppoly(network: nn.Sequential, box: Box, specification: Tensor) -> Tensor:
    """Lower bounds [B, S], back-substituted over ReLUs that are bounded in the same way."""
    return back_substitute(network, relu_bounds_by_back_substitution(network, box), box, specification)


def relu_bounds_by_intervals(network: nn.Sequential, box: Box) -> dict[int, Box]:
    """The bounds of each ReLU's input by the ReLU's position in the network."""
    bounds = {}
    for index, layer in enumerate(network):
        if isinstance(layer, nn.ReLU):
            bounds[index] = box
        box = interval(layer, box)
    return bounds


def relu_bounds_by_back_substitution(network: nn.Sequential, box: Box) -> dict[int, Box]:
    """The bounds of each ReLU's input by the ReLU's position; intervals suffice for the first one."""
    bounds: dict[int, Box] = {}
    reached = box
    for index, layer in enumerate(network):
        if isinstance(layer, nn.ReLU):
            bounds[index] = bounds_of_all(network[:index], bounds, box, reached.lower.shape[1:]) if bounds else reached
        reached = interval(layer, reached)
    return bounds


def bounds_of_all(layers: nn.Sequential, bounds: dict[int, Box], box: Box, shape: torch.Size) -> Box:
    """The bounds of each of the outputs of ``layers``, which have the given shape."""
    identity = torch.eye(shape.numel(), dtype=box.lower.dtype, device=box.lower.device)
    rows = torch.cat([identity, -identity]).reshape(1, -1, *shape).expand(len(box.lower), *[-1] * (1 + len(shape)))
    lower, minus_upper = back_substitute(layers, bounds, box, rows).chunk(2, dim=1)
    return Box(lower.reshape(-1, *shape), -minus_upper.reshape(-1, *shape))


def back_substitute(layers: nn.Sequential, bounds: dict[int, Box], box: Box, rows: Tensor) -> Tensor:
    """Lower bounds [B, S] over the box of ``rows`` [B or 1, S, ...] times the outputs of ``layers``."""
    shapes = input_shapes(layers, box.lower)
    constant = rows.new_zeros(())
    for index, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.Linear):
            constant = constant + rows @ layer.bias
            rows = rows @ layer.weight
        elif isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            constant = constant + rows.sum((3, 4)) @ layer.bias
            rows = through_convolution(layer, rows, shapes[index])
        elif isinstance(layer, nn.Flatten):
            rows = rows.reshape(*rows.shape[:2], *shapes[index])
        elif isinstance(layer, nn.ReLU):
            lines = relax(bounds[index])
            positive, negative = rows.clamp(min=0), rows.clamp(max=0)
            constant = constant + (negative * lines.upper_intercept.unsqueeze(1)).flatten(2).sum(2)
            rows = positive * lines.lower_slope.unsqueeze(1) + negative * lines.upper_slope.unsqueeze(1)
        else:
            raise TypeError(f"{type(layer).__name__} is not one of Conv2d, Linear, ReLU and Flatten")
    return concretise(rows.flatten(2), constant, box)


def through_convolution(layer: nn.Conv2d, rows: Tensor, shape: torch.Size) -> Tensor:
    """Coefficients [B, S, *shape] of the convolution's inputs from those of its outputs."""
    kernel, stride, padding = (
        [int(size) for size in sizes] for sizes in (layer.kernel_size, layer.stride, layer.padding)
    )
    reached = [(rows.shape[3 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i] for i in range(2)]
    left_over = [shape[1 + i] - reached[i] for i in range(2)]
    inputs = F.conv_transpose2d(rows.flatten(0, 1), layer.weight, None, stride, padding, left_over)
    return inputs.reshape(*rows.shape[:2], *shape)


def concretise(rows: Tensor, constant: Tensor, box: Box) -> Tensor:
    """The minimum [B, S] over the box of ``rows`` [B or 1, S, N] times the input plus ``constant`` [B or 1, S]."""
    centre, radius = (box.upper + box.lower) / 2, (box.upper - box.lower) / 2
    minimum = rows @ centre.flatten(1).unsqueeze(2) - rows.abs() @ radius.flatten(1).unsqueeze(2)
    return minimum.squeeze(2) + constant


def relax(bounds: Box) -> Lines:
    """DeepPoly's lines: the lower one is the identity if it leaves the smaller area (``u > -l``), zero otherwise."""
    lower, upper = bounds
    active, unstable = lower >= 0, (lower < 0) & (upper > 0)
    slope = torch.where(unstable, upper, 0) / torch.where(unstable, upper - lower, 1)
    upper_slope = torch.where(active, 1, slope)
    return Lines(torch.where(active | (upper > -lower), 1.0, 0.0).to(slope), upper_slope, -slope * lower)


def interval(layer: nn.Module, box: Box) -> Box:
    """The outputs' box for the inputs' one."""
    if isinstance(layer, nn.ReLU | nn.Flatten):
        return Box(layer(box.lower), layer(box.upper))
    centre, radius = (box.upper + box.lower) / 2, (box.upper - box.lower) / 2
    if isinstance(layer, nn.Linear):
        radius = F.linear(radius, layer.weight.abs())
    elif isinstance(layer, nn.Conv2d):
        radius = F.conv2d(radius, layer.weight.abs(), stride=layer.stride, padding=layer.padding)
    else:
        raise TypeError(f"{type(layer).__name__} is not one of Conv2d, Linear, ReLU and Flatten")
    centre = layer(centre)
    return Box(centre - radius, centre + radius)


def input_shapes(layers: nn.Sequential, x: Tensor) -> list[torch.Size]:
    """The shape of each layer's input, without the batch dimension, for inputs ``x`` of the first one."""
    shapes = []
    with torch.no_grad():
        x = x[:1]
        for layer in layers:
            shapes.append(x.shape[1:])
            x = layer(x)
    return shapes
