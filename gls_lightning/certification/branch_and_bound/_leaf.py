"""Subdomains in which every ReLU has a known sign: linear programs."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from gls_lightning.bounds import Node
from gls_lightning.bounds.operations import Activation
from gls_lightning.certification.branch_and_bound._lagrangian import Lagrangian
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains

Array = NDArray[np.float64]

_INPUTS_AT_ONCE = 256
"""Points at which the network is evaluated together."""


class AffineFunctions(NamedTuple):
    """Functions ``coefficients @ x + constants`` of the flattened input, ``[m, n]`` and ``[m]``."""

    coefficients: Array
    constants: Array

    def stack(self, other: "AffineFunctions") -> "AffineFunctions":
        """Appends other functions."""
        return AffineFunctions(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


class Minimum(NamedTuple):
    """The result of a linear program.

    Attributes:
        point: A point of the box near the minimum, ``[1, *input]``; None if there is none.
        weights: Multipliers of the group's functions, ``[m]``; 0 if the subdomain is said to be empty.
        multipliers: Those of the splits, in their order; empty, like the weights, if nothing was found.
    """

    point: Tensor | None
    weights: Array
    multipliers: Array

    def lower(self, leaf: Subdomains) -> float:
        """Bounds the minimum from below: infinity if the subdomain is empty.

        The solver is not believed. Any multipliers that are at least 0 give a lower bound; the bound that the solver's
        multipliers give is computed by back-substitution, less its rounding error.
        """
        if not len(self.weights):
            return -np.inf
        like = leaf.offsets
        multipliers = torch.zeros_like(leaf.relu_box.lower)
        multipliers[leaf.signs != 0] = torch.from_numpy(self.multipliers).to(like)
        weights = torch.from_numpy(self.weights).to(like)[None]
        bound = Lagrangian(leaf)(torch.zeros_like(multipliers), multipliers, weights).item()
        if self.weights.any():
            return bound
        return np.inf if bound > 0 else -np.inf  # the splits' own weighted sum is above 0 where all are at most 0


def minimise_leaf(leaf: Subdomains, *, time_limit: float = np.inf) -> Minimum:
    """Minimises the largest function of a group over a single subdomain without unstable ReLUs.

    The network is affine there, and HiGHS solves the linear program.

    Args:
        leaf: The subdomain, float64.
        time_limit: Seconds for the linear program; if they are over, nothing is found.
    """
    functions, splits = _affine(leaf)
    lower, upper = (side.flatten().cpu().numpy() for side in leaf.box)
    multipliers, x = _minimise_largest(functions, splits, lower, upper, time_limit)
    number = len(functions.constants)
    if x is not None:
        point = torch.from_numpy(x).to(leaf.box.lower).view_as(leaf.box.lower)
        return Minimum(point, multipliers[:number], multipliers[number:])
    if len(splits.constants):
        # If no point satisfies all splits, as HiGHS claims, the largest of them is above 0 everywhere.
        empty = AffineFunctions(*(part[:0] for part in splits))
        multipliers, x = _minimise_largest(splits, empty, lower, upper, time_limit)
    return Minimum(None, np.zeros(0 if x is None else number), multipliers)


def _affine(leaf: Subdomains) -> tuple[AffineFunctions, AffineFunctions]:
    """Returns the group's functions of the input, and functions that are at most 0 where the splits hold."""
    size = leaf.graph.input_shape.numel()
    origin = leaf.rows.new_zeros(1, size)
    corners = torch.cat([origin, torch.eye(size).to(origin)]).view(-1, *leaf.graph.input_shape)
    parts = [_evaluate_affine(leaf, part) for part in corners.split(_INPUTS_AT_ONCE)]
    functions, splits = (_from_corners(torch.cat(values)) for values in zip(*parts, strict=True))
    return functions, splits


def _evaluate_affine(leaf: Subdomains, points: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluates the affine functions that hold in the leaf at any points ``[P, *input]``: functions and splits."""
    active = leaf.by_relu(leaf.split_relu_box.lower >= 0)
    signs = leaf.by_relu(leaf.signs)
    splits = [points.new_empty(len(points), 0)]

    def evaluate(node: Node, *values: Tensor) -> Tensor:
        if not isinstance(node.operation, Activation):
            return node.operation.evaluate(leaf.tensors, *values)
        split = signs[node.name][0] != 0
        splits.append(-values[0][:, split] * signs[node.name][0, split])
        return values[0] * active[node.name]

    outputs = leaf.graph.propagate(points, evaluate)[leaf.graph.output]
    return outputs @ leaf.rows[0].mT + leaf.offsets[0], torch.cat(splits, 1)


def _from_corners(values: Tensor) -> AffineFunctions:
    """Finds the affine functions with these values ``[1 + n, m]`` at 0 and at the unit vectors."""
    return AffineFunctions((values[1:] - values[0]).mT.cpu().numpy(), values[0].cpu().numpy())


def _minimise_largest(
    functions: AffineFunctions, constraints: AffineFunctions, lower: Array, upper: Array, time_limit: float
) -> tuple[Array, Array | None]:
    """Minimises the largest function where all constraints are at most 0.

    Returns:
        Multipliers of functions and constraints, those of the functions with sum 1, and a point of the box near the
        minimum; nothing where the solver finds no minimum.
    """
    (number, size), everything = functions.coefficients.shape, functions.stack(constraints)
    of_largest = np.arange(len(everything.constants)) < number
    result = linprog(
        np.append(np.zeros(size), 1),
        A_ub=np.column_stack([everything.coefficients, -of_largest.astype(float)]),
        b_ub=-everything.constants,
        bounds=[*zip(lower, upper, strict=True), (None, None)],
        options={"time_limit": time_limit},
    )
    if result.status != 0 or result.x is None:
        return np.zeros(0), None
    multipliers = np.maximum(-result.ineqlin.marginals, 0)
    multipliers /= multipliers[of_largest].sum()
    return multipliers, np.clip(result.x[:size], lower, upper)
