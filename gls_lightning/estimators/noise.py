"""Perturbations of parameters."""

import torch
from torch import Tensor

from gls_lightning.estimators.step import Step


def standard_normal(params: dict[str, Tensor], step: Step, member: int) -> dict[str, Tensor]:
    """Draws independent N(0, 1) noise for every parameter, determined by the step and the member."""
    generator = step.generator(member, next(iter(params.values())).device)
    return {
        name: torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype) for name, p in params.items()
    }


def perturbed(params: dict[str, Tensor], noise: dict[str, Tensor], scale: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns ``params + scale * noise`` as new tensors, detached from the parameters."""
    return {name: torch.addcmul(p.detach(), noise[name], scale[name]) for name, p in params.items()}
