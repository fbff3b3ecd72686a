"""Directions in the parameter space of a network."""

from abc import ABC, abstractmethod
from math import inf

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Step, differentiate, standard_normal
from gls_lightning.relaxations import DeepPoly, Relaxation
from gls_lightning.training import TrainingLoss
from gls_lightning.weights import as_of, read_tensors

Displacement = dict[str, Tensor]
"""The change of each trainable parameter, by its name in the network."""


class Direction(ABC):
    """A direction of the landscape: a step from the present parameters to others.

    Attributes:
        unit: Meaning of coordinate 1, for the axis of a picture.
        span: First and last coordinate by default.
    """

    unit: str
    span: tuple[float, float] = (-1.0, 1.0)

    @abstractmethod
    def __call__(self, loss: TrainingLoss) -> Displacement:
        """Computes the step from coordinate 0, the present parameters, to coordinate 1.

        Args:
            loss: The loss as a function of the present parameters; it is not changed.
        """


class GradientDirection(Direction):
    """A step of gradient descent on the loss, as in the paper's Fig. 4.

    Coordinate 1 is the end of one step of plain gradient descent, -learning_rate times the gradient on the samples.

    Args:
        relaxation: The relaxation whose loss gives the gradient. By default DeepPoly.
        learning_rate: Factor of the gradient. By default the 5e-5 of the paper's Appendix F.1.

    Raises:
        ConfigurationError: If ``learning_rate`` is not positive and finite, or the relaxation has no useful gradient.
    """

    def __init__(self, *, relaxation: Relaxation | None = None, learning_rate: float = 5e-5) -> None:
        require(0 < learning_rate < inf, "learning_rate", learning_rate, "positive and finite")
        self.relaxation = component("relaxation", relaxation, Relaxation) or DeepPoly()
        if not self.relaxation.differentiable:
            raise ConfigurationError(
                f"relaxation of the direction is {type(self.relaxation).__name__}, which has no useful gradients; "
                "choose one that has them, such as DeepPoly"
            )
        self.learning_rate = learning_rate
        self.unit = f"gradient steps of {type(self.relaxation).__name__}, learning rate {learning_rate:g}"

    @override
    def __call__(self, loss: TrainingLoss) -> Displacement:
        with torch.enable_grad():
            params = {name: p.requires_grad_() for name, p in loss.params.items()}
            _, gradient, _ = differentiate(loss.with_relaxation(self.relaxation), params)
        return {name: -self.learning_rate * g for name, g in gradient.items()}


class RandomDirection(Direction):
    """A Gaussian direction with filter normalisation (Li et al., 2018).

    Every filter of a convolution and every row of a linear layer is changed by a random vector of its own norm. So
    pictures of networks with different scales of weights can be compared. Biases and BatchNorm's factors stay, as in
    the authors' pictures.

    Args:
        seed: Seed of the direction.
    """

    unit = "random direction, filter norms"

    def __init__(self, *, seed: int = 0) -> None:
        require(seed >= 0, "seed of the direction", seed, "at least 0")
        self.seed = seed

    @override
    def __call__(self, loss: TrainingLoss) -> Displacement:
        params = loss.params
        return {
            name: filter_normalized(noise, params[name]) if noise.ndim > 1 else torch.zeros_like(noise)
            for name, noise in standard_normal(params, Step(self.seed, 0), 0).items()
        }


def filter_normalized(direction: Tensor, weight: Tensor) -> Tensor:
    """Scales each filter ``direction[i]`` to the norm of ``weight[i]``; both ``[filters, ...]``."""
    dims = tuple(range(1, weight.ndim))
    norms, wanted = (torch.linalg.vector_norm(t, dim=dims, keepdim=True) for t in (direction, weight))
    scaled: Tensor = direction * (wanted / norms)
    return scaled


class CheckpointDirection(Direction):
    """The straight line to the trainable weights of another checkpoint: coordinate 0 is this network, 1 the other.

    Args:
        path: Checkpoint of a run with the same network, or ``.safetensors`` file of the network alone.
    """

    span = (-0.25, 1.25)

    def __init__(self, *, path: str) -> None:
        self.path = path
        self.unit = f"from this network (0) to {path} (1)"

    @override
    def __call__(self, loss: TrainingLoss) -> Displacement:
        """See :meth:`Direction.__call__`.

        Raises:
            ConfigurationError: The file is missing or damaged, or holds another architecture.
        """
        other = as_of(loss.tensors, self.path, read_tensors(self.path))
        params = loss.params
        return {own: other[name].to(params[own]) - params[own] for name, own in loss.names.items()}
