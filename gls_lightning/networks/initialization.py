"""Initialisations of hidden weights. Biases, BatchNorm and the last weight keep their initialisation by PyTorch."""

import math

from torch import nn


def ibp_initialization(network: nn.Module) -> None:
    """Draws every weight but the last from ``N(0, 2 pi / fan_in^2)``, in place.

    Interval bounds then neither grow nor shrink in expectation from layer to layer (Shi et al., "Fast Certified
    Robust Training with Short Warmup", 2021).

    Args:
        network: Any module. Its weights are the parameters named ``weight`` with more than one dimension, in the
            order in which they were registered.
    """
    for weight in _hidden_weights(network):
        nn.init.normal_(weight, std=math.sqrt(2 * math.pi) / weight[0].numel())


def kaiming_uniform_initialization(network: nn.Module) -> None:
    """Draws every weight but the last from ``U(-sqrt(6 / fan_in), sqrt(6 / fan_in))``, in place.

    The variance of the activations then stays the same through ReLU layers (He et al., "Delving Deep into
    Rectifiers", 2015). PyTorch's own default is narrower, ``1 / sqrt(fan_in)``.

    Args:
        network: As for :func:`ibp_initialization`.
    """
    for weight in _hidden_weights(network):
        nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def _hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    named = network.named_parameters()
    return [value for name, value in named if name.rpartition(".")[2] == "weight" and value.ndim > 1][:-1]
