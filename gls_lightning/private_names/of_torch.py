"""Private names of PyTorch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

BatchNorm = _BatchNorm
"""The class from which BatchNorm of every dimension, synchronised BatchNorm and those of other libraries derive."""

Dropout = _DropoutNd
"""The class from which all kinds of dropout derive, and which holds their probability."""

SCHEDULES = "_schedulers"
"""Attribute of SequentialLR and ChainedScheduler that holds the schedules that they consist of."""

MILESTONES = "_milestones"
"""Attribute of SequentialLR that says when the next of its schedules begins."""


class DispatchMode(TorchDispatchMode):
    """A mode that sees each operation on tensors; unlike its base class, it does not import PyTorch's compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Applies a function to all leaves of nested tuples, lists and dicts, as ``torch.func.vmap`` sees them."""
    return _pytree.tree_map(function, tree)


def tree_flatten(tree: Any) -> tuple[list[Any], Any]:
    """Lists the leaves of nested tuples, lists and dicts, and describes their structure."""
    return _pytree.tree_flatten(tree)


def tree_unflatten(leaves: Sequence[Any], structure: Any) -> Any:
    """Puts leaves into the structure from :func:`tree_flatten`."""
    return _pytree.tree_unflatten(leaves, structure)


def copy_to_all(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    """Copies each tensor to its target, on a GPU with one launch for many; both may require a gradient."""
    with torch.no_grad():
        torch._foreach_copy_(list(targets), list(sources))


def add_to_all(targets: Iterable[Tensor], terms: Iterable[Tensor], *, factor: float) -> None:
    """Adds to each tensor its term times the factor, on a GPU with one launch for many."""
    torch._foreach_add_(list(targets), list(terms), alpha=factor)


def scaled(tensors: Sequence[Tensor], factor: Tensor) -> tuple[Tensor, ...]:
    """Multiplies each tensor by a factor, 0-dim, on a GPU with one launch for many."""
    return torch._foreach_mul(list(tensors), factor)


def added_products(
    tensors: Sequence[Tensor], left: Sequence[Tensor], right: Sequence[Tensor], *, factor: float
) -> Sequence[Tensor]:
    """Adds to each tensor a product of two times the factor, in new tensors, on a GPU with few launches.

    Args:
        tensors: The tensors.
        left: One like each of them.
        right: One like each of them, or 0-dim.
        factor: The factor.
    """
    if all(of_one is right[0] for of_one in right) and right[0].ndim == 0:
        return torch._foreach_add(list(tensors), torch._foreach_mul(list(left), right[0]), alpha=factor)
    if all(of_one.shape == own.shape for of_one, own in zip(right, tensors, strict=True)):
        return torch._foreach_addcmul(list(tensors), list(left), list(right), value=factor)
    return [torch.addcmul(*of_one, value=factor) for of_one in zip(tensors, left, right, strict=True)]


def transforms_are_active() -> bool:
    """Says whether the code runs inside a ``torch.func`` transform, in which checkpoints are not allowed."""
    return torch._C._are_functorch_transforms_active()


def vmap_is_active() -> bool:
    """Says whether the code runs inside ``torch.func.vmap``, in which no value can be read."""
    functorch = torch._C._functorch
    return any(layer.key() == functorch.TransformType.Vmap for layer in functorch.get_interpreter_stack() or ())


def is_batched(tensor: Tensor) -> bool:
    """Says whether ``torch.func.vmap`` runs over the tensor."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def dispatch_is_watched() -> bool:
    """Says whether a ``TorchDispatchMode`` is active.

    It sees operators of PyTorch only, and tensors may be stand-ins without numbers.
    """
    return torch._C._len_torch_dispatch_stack() > 0


def parameters_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Lists the module's own parameters; subclasses of other libraries change the public methods."""
    yield from list(module._parameters.items())


def put_parameter(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Puts any tensor in the place of a parameter, for which an assignment takes parameters only."""
    module._parameters[name] = tensor  # type: ignore[assignment]


def leave_to_processes(module: nn.Module, buffers: Sequence[str]) -> None:
    """Tells DistributedDataParallel not to send these buffers with every batch: they are the same on all processes."""
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, buffers)
