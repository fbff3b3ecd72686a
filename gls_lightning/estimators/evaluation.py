"""Evaluations of a loss function, with or without its gradient, at one or at many sets of parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Params = dict[str, Tensor]
"""A network's parameters by name; those of several members of a population stacked, ``[n, *shape]``."""

Metrics = Mapping[str, Tensor]
"""Values to report, 0-dim each."""

LossFunction = Callable[[Params], tuple[Tensor, Metrics]]
"""A pure function of a network's parameters, which it takes by name, to a 0-dim loss and metrics.

An attribute ``members_at_once`` may say how many members of a population are best evaluated by one ``torch.func.vmap``.
An attribute ``noise_bytes`` may say how much memory the noise of a population may take for the length of a step.
A method ``replay(evaluation, params)`` may give what ``evaluation(loss_function, params)`` would, from a recording.
"""

Differentiated = tuple[Tensor, Params, Metrics]
"""Loss, gradient and metrics, detached."""

Evaluation = Callable[[LossFunction, Params], Any]
"""Tensors in tuples and dictionaries, as a function of a loss function and parameters."""


def evaluate(evaluation: Evaluation, loss_function: LossFunction, params: Params) -> Any:
    """Applies an evaluation, or replays a recording of it if the loss function has one."""
    replay = getattr(loss_function, "replay", None)
    return evaluation(loss_function, params) if replay is None else replay(evaluation, params)


def differentiate(loss_function: LossFunction, params: Params) -> Differentiated:
    """Returns loss, gradient and metrics at ``params``, detached.

    The gradient is zero where the loss does not depend on a parameter.
    """
    differentiated: Differentiated = evaluate(gradient, loss_function, params)
    return differentiated


def value(loss_function: LossFunction, params: Params) -> Any:
    """Evaluates the loss function at one set of parameters."""
    return loss_function(params)


def gradient(loss_function: LossFunction, params: Params) -> Differentiated:
    """Evaluates and differentiates the loss function at one set of parameters, each of which requires a gradient."""
    loss, metrics = loss_function(params)
    gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True, materialize_grads=True)
    reports = {name: metric.detach() for name, metric in metrics.items()}
    return loss.detach(), dict(zip(params, gradients, strict=True)), reports


def values_of_members(loss_function: LossFunction, params: Params) -> Any:
    """Evaluates the loss function at the parameters of several members at once."""
    return torch.func.vmap(loss_function)(params)


def gradients_of_members(loss_function: LossFunction, params: Params) -> Differentiated:
    """Evaluates and differentiates the loss function at the parameters of several members at once."""

    def of_one(member: Params) -> Differentiated:
        gradients, (loss, metrics) = torch.func.grad_and_value(loss_function, has_aux=True)(member)
        return loss, gradients, metrics

    differentiated: Differentiated = torch.func.vmap(of_one)(params)
    return differentiated
