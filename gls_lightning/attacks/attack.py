"""The interface of attacks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gls_lightning.devices import sent
from gls_lightning.randomness import keyed_generator

Logits = Callable[[Tensor], Tensor]
"""A network with its parameters closed over: inputs ``[B, *input]`` to logits ``[B, K]``."""


class Attack(ABC):
    """A search of each sample's box for a point that is classified wrongly.

    An attack is a pure function: it draws no random numbers (its starts are an argument), leaves no gradient behind,
    and its result has none. It works under ``torch.no_grad``, and under ``torch.func.vmap`` over the parameters that
    ``logits`` closes over.

    Attributes:
        restarts: Number of starts per sample.
    """

    restarts: int = 1

    @abstractmethod
    def __call__(self, logits: Logits, lower: Tensor, upper: Tensor, labels: Tensor, starts: Tensor) -> Tensor:
        """Returns the worst point that it finds in each box.

        Args:
            logits: The network to attack; the logits of a sample must depend on this sample alone.
            lower: Lower corner of each box, ``[B, *input]``.
            upper: Upper corner of each box, ``[B, *input]``.
            labels: The true classes, ``[B]``.
            starts: Relative positions inside the box, in [0, 1], ``[restarts, B, *input]``; see :meth:`draw_starts`.

        Returns:
            Points ``[B, *input]`` with ``lower <= point <= upper`` exactly.
        """

    def draw_starts(
        self, shape: Sequence[int], indices: Tensor, *key: int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draws uniform relative positions that depend on the key and on each sample's own index, not on its batch.

        They are drawn on the CPU, so they are the same on every device. With more restarts the first starts stay.

        Args:
            shape: Shape of one input.
            indices: Index of each sample in its data set, ``[B]``; on the CPU, or this waits for the GPU.
            *key: Non-negative integers, for example the seed and the number of the batch.
            device: Where the result is put.

        Returns:
            Relative positions in [0, 1), ``[restarts, B, *shape]``, float32.
        """
        starts = torch.empty(len(indices), self.restarts, *shape, dtype=torch.float32)
        for sample, index in zip(starts, indices.tolist(), strict=True):
            sample.uniform_(generator=keyed_generator("attack start", *key, index))
        return sent(starts.transpose(0, 1), device)
