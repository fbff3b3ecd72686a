"""The norm of the gradients, by which they are checked and clipped."""

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor
from torch.optim import Optimizer


def gradient_norm(trainer: Trainer, optimizer: Optimizer) -> Tensor | None:
    """Returns the norm of the gradients that the optimizer takes, as PyTorch's clipping computes it; None without."""
    gradients = [p.grad for p in trainer.precision_plugin.main_params(optimizer) if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else None


def clip_with_norm(trainer: Trainer, optimizer: Optimizer, norm: Tensor, largest: float) -> None:
    """Scales the gradients, whose norm is known, as ``torch.nn.utils.clip_grad_norm_`` does."""
    torch.nn.utils.clip_grads_with_norm_(trainer.precision_plugin.main_params(optimizer), largest, norm)


def clips_by_norm(trainer: Trainer, algorithm: str | None) -> bool:
    """Says whether Lightning would clip by the plain norm: other precision plugins have a clipping of their own."""
    plain = type(trainer.precision_plugin).clip_grad_by_norm is Precision.clip_grad_by_norm
    return plain and algorithm in (None, "norm")
