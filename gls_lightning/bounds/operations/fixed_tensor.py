"""Tensors that a network holds without their being parameters or buffers of its state."""

from hashlib import sha256

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds._constants import constants


class FixedTensor:
    """A constant of a network, as it was when the network was traced.

    Two with equal numbers are equal, and their text shows that, so that graphs can be compared.

    Args:
        value: The numbers.
        name: The attribute that has them, if any. Where tensors are given under this name, as a buffer's may be that is
            not part of the state, those hold.
    """

    def __init__(self, value: Tensor, name: str | None = None) -> None:
        self.value = value.detach().clone()
        self.name = name
        numbers = self.value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        self._text = f"{name} {value.dtype} {tuple(value.shape)} {sha256(numbers).hexdigest()}"

    def like(self, other: Tensor) -> Tensor:
        """Gives the numbers in another tensor's type, on its device."""
        (numbers,) = constants(_numbers, other, self, as_numbers=True)
        return numbers

    @override
    def __repr__(self) -> str:
        return f"FixedTensor({self._text})"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedTensor) and self._text == other._text

    @override
    def __hash__(self) -> int:
        return hash(self._text)


def _numbers(fixed: FixedTensor) -> tuple[Tensor]:
    return (fixed.value,)
