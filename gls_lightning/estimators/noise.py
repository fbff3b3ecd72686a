"""Perturbations of parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gls_lightning.estimators._noise_tables import NoiseTables, in_tables
from gls_lightning.estimators.evaluation import Params
from gls_lightning.estimators.step import Step
from gls_lightning.private_names import of_torch


def standard_normal(params: Mapping[str, Tensor], step: Step, member: int) -> Params:
    """Draws independent N(0, 1) noise for every parameter, determined by the step and the member."""
    if in_tables(params):
        return NoiseTables(params, step, [member]).row(member)
    generator = step.generator(member, next(iter(params.values())).device)
    return {
        name: torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype) for name, p in params.items()
    }


def perturbed(params: Mapping[str, Tensor], noise: Params, scale: Params, sign: int = 1) -> Params:
    """Returns ``params + sign * scale * noise`` as new tensors, detached from the parameters.

    Args:
        params: The parameters.
        noise: The noise of one member, like each parameter.
        scale: Standard deviations, 0-dim or like each parameter.
        sign: 1, or -1 for the opposite perturbation.
    """
    names = list(params)
    kept, drawn, scales = (
        [params[name].detach() for name in names],
        [noise[n] for n in names],
        [scale[n] for n in names],
    )
    if in_tables(params):
        return dict(zip(names, of_torch.added_products(kept, drawn, scales, factor=sign), strict=True))
    sums = (torch.addcmul(*of_one, value=sign) for of_one in zip(kept, drawn, scales, strict=True))
    return dict(zip(names, sums, strict=True))


def perturbed_members(
    params: Mapping[str, Tensor],
    step: Step,
    members: Sequence[tuple[int, bool]],
    scale: Params,
    drawn: NoiseTables | None = None,
) -> Params:
    """Returns the perturbed parameters of several members, stacked ``[n, *shape]``, in few launches.

    Args:
        params: The parameters.
        step: The training step.
        members: For each member whose noise it takes, and whether the opposite of it.
        scale: Standard deviations, 0-dim or like each parameter.
        drawn: Noise of these members, if it is drawn already.
    """
    tables = drawn or NoiseTables(params, step, list(dict.fromkeys(source for source, _ in members)))
    noise = tables.rows(members)
    return {name: torch.addcmul(p.detach(), noise[name], scale[name]) for name, p in params.items()}
