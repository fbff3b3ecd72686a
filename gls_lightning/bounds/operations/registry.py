"""A registry of the calls in a network that become operations."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn

from gls_lightning.bounds.operations.fixed_tensor import FixedTensor
from gls_lightning.bounds.operations.operation import Operation
from gls_lightning.errors import ConfigurationError


class UnsupportedOperationError(ConfigurationError):
    """A network contains what cannot be bounded."""


@dataclass(frozen=True)
class Constant:
    """A tensor that the traced code uses by itself.

    Attributes:
        source: Name of a parameter or buffer in the state dict; or the tensor, if it is none of these.
        shape: The shape in which the code uses it.
    """

    source: str | FixedTensor
    shape: torch.Size


TRACED = object()
"""Stands for an operand that depends on the network's input."""


@dataclass(frozen=True)
class Call:
    """One call in a traced network: a module, a function or a method of a tensor.

    Attributes:
        place: Where it stands: the module's name, or a name made from the function's.
        what: Name of the module's class or of the function.
        module: The module that is called, if it is one.
        operands: The arguments: ``TRACED``, a ``Constant``, or a value.
        options: The keyword arguments, likewise.
        input_shapes: Shapes of the traced operands without the batch.
        output_shape: Shape of the result without the batch.
    """

    place: str
    what: str
    module: nn.Module | None
    operands: tuple[Any, ...]
    options: dict[str, Any]
    input_shapes: tuple[torch.Size, ...]
    output_shape: torch.Size

    def make(self, kind: type[Operation], **fields: Any) -> Operation:
        """Makes an operation of this kind with the shapes of the call."""
        return kind(input_shapes=self.input_shapes, output_shape=self.output_shape, **fields)

    def tensor(self, name: str) -> str | None:
        """Returns the name in the state dict of the module's own parameter or buffer; None if the module has none."""
        assert self.module is not None
        if getattr(self.module, name) is None:
            return None
        listed = self.module.named_parameters, self.module.named_buffers
        if name not in dict(chain(*(tensors(recurse=False, remove_duplicate=False) for tensors in listed))):
            self.refuse(f"its {name} is no parameter, but computed from others")
        return f"{self.place}.{name}"

    def refuse(self, why: str = "") -> NoReturn:
        """Says that this call cannot be bounded.

        Raises:
            UnsupportedOperationError: Always.
        """
        supported = ", ".join(sorted({name_of(key) for key in BUILDERS}))
        reason = f": {why}" if why else ""
        raise UnsupportedOperationError(
            f"operation {self.what} at {self.place!r} of the network cannot be bounded{reason} (supported: {supported})"
        )


Builder = TypeVar("Builder", bound=Callable[[Call], Operation])

BUILDERS: dict[Any, Callable[[Call], Operation]] = {}
"""Makers of a call's operation by the class of the module, the function, or the name of the tensor's method."""


def implements(*targets: Any) -> Callable[[Builder], Builder]:
    """Decorates a function that makes the operation of a call to one of ``targets``.

    Args:
        targets: Classes of modules, functions, or names of methods of tensors.
    """

    def register(build: Builder) -> Builder:
        BUILDERS.update(dict.fromkeys(targets, build))
        return build

    return register


def name_of(target: Any) -> str:
    """Returns the name under which messages speak of a module's class, a function or a method."""
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))
