"""The loss whose landscape is looked at."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gls_lightning.objectives import Batch, Certified, Objective
from gls_lightning.training import BoundedNetwork, Images, TrainingLoss, parameter_names


def landscape_loss(
    module: BoundedNetwork, images: Images, *, objective: Objective | None = None, epsilon: float | None = None
) -> TrainingLoss:
    """The loss of some images as a function of the network's trainable parameters, in float64.

    In float32 the rounding of the loss would pass for curvature: points of a landscape lie close together.

    Args:
        module: The module; it is not changed.
        images: Images, labels and indices.
        objective: What the loss is. By default the module's, or Certified where that bounds nothing.
        epsilon: Radius. By default the module's target.
    """
    inputs, labels, indices = images
    tensors = module.tensors()
    names = parameter_names(module.network, tensors)
    if objective is None:
        objective = module.objective if module.objective.uses_relaxation else Certified()
    starts = objective.draw_starts(module.graph, indices, module.seed, device=inputs.device)
    radius = torch.tensor(module.epsilon if epsilon is None else epsilon, dtype=torch.double, device=inputs.device)
    batch = Batch(inputs.double(), labels, radius, tuple(start.double() for start in starts))
    return TrainingLoss(module.graph, module.relaxation, objective, _double(tensors), names, batch)


def _double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}
