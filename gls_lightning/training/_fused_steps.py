"""Fused steps of an optimizer: one launch on a GPU in place of one for each operation on each parameter."""

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

_FUSED: tuple[type[Optimizer], ...] = Adam, AdamW, SGD
"""Optimizers with a fused form on CUDA in all versions of PyTorch that we support; not classes derived from them."""

_CHOICES = "fused", "foreach", "capturable", "differentiable"
"""Options that say how an optimizer computes; who sets one has decided."""


def fuse(optimizer: Optimizer) -> None:
    """Lets an optimizer on a GPU take fused steps, if it can and its options leave that open; called before its first.

    On other devices it stays as it is. Also after it has loaded a state from a checkpoint, whatever device and options
    that was made with.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    given = optimizer.defaults
    is_open = given.get("fused") is given.get("foreach") is None and not any(given.get(name) for name in _CHOICES)
    if type(optimizer) in _FUSED and is_open:
        choose(optimizer, fused=all(p.is_cuda and p.is_floating_point() for p in params))


def choose(optimizer: Optimizer, *, fused: bool) -> None:
    """Lets an optimizer take fused steps or plain ones, now and after it has loaded a state."""
    optimizer.defaults["fused"] = fused or None
    _apply(optimizer)
    optimizer.register_load_state_dict_post_hook(_apply)


def _apply(optimizer: Optimizer) -> None:
    """Makes options and state what the defaults say; a state that was loaded has brought its own options."""
    choices = {name: value for name, value in optimizer.defaults.items() if name in _CHOICES}
    for group in optimizer.param_groups:
        group.update(choices)
        for p in group["params"]:
            if isinstance(step := optimizer.state.get(p, {}).get("step"), Tensor):
                # Fused steps count on the device, plain ones on the CPU.
                optimizer.state[p]["step"] = step.to(p.device if choices["fused"] else "cpu", torch.float32)
