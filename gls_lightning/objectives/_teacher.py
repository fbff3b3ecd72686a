"""The network that a student learns from."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from gls_lightning.bounds import Graph, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives._cut import cut_behind_relu
from gls_lightning.weights import read_weights


class Teacher(nn.Module):
    """A frozen network in evaluation mode that is asked about images: for its logits, or for features.

    Args:
        network: Maps images to logits; copied.
        weights: The file of its weights, which is read before it is asked first; None for the weights that it has.
        classifier_relus: Number of ReLUs behind the features; None for logits.
    """

    def __init__(self, network: nn.Module, weights: str | None, classifier_relus: int | None = None) -> None:
        super().__init__()
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.classifier_relus = classifier_relus
        self._unread = weights
        self._first_part: Graph | None = None

    def prepare(self, input_shape: Sequence[int]) -> torch.Size:
        """Reads the weights, if that is not done, and returns the shape of an answer for one image of this shape.

        Raises:
            ConfigurationError: The weights cannot be read or are of another network; or the network does not take such
                images, or has no such features.
        """
        self._read()
        try:
            if self.classifier_relus is not None:
                self._first_part, _ = cut_behind_relu(trace(self.network, input_shape), self.classifier_relus)
            return self._answer(self._zeros(input_shape)).shape[1:]
        except ConfigurationError as error:
            raise ConfigurationError(f"the teacher: {error}") from error
        except RuntimeError as error:  # of PyTorch's layers
            shape = tuple(input_shape)
            raise ConfigurationError(f"the teacher does not take images of the shape {shape}: {error}") from error

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers images ``[B, *input]`` in their precision and on their device: ``[B, K]``, or ``[B, *features]``."""
        if self._unread is not None or (self.classifier_relus is not None and self._first_part is None):
            self.prepare(inputs.shape[1:])
        self.network.to(inputs)
        return self._answer(inputs)

    def _read(self) -> None:
        if self._unread is None:
            return
        try:
            self.network.load_state_dict(read_weights(self._unread, self.network))
        except ConfigurationError as error:
            raise ConfigurationError(f"teacher_weights: {error}") from error
        self._unread = None

    def _answer(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            if self._first_part is None:
                logits: Tensor = self.network(inputs)
                return logits
            return self._first_part(self.network.state_dict(), inputs)

    def _zeros(self, input_shape: Sequence[int]) -> Tensor:
        like = next(self.network.parameters(), torch.zeros(()))
        return like.new_zeros(1, *input_shape)
