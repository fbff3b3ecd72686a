"""The loss of a landscape."""

import torch

from gls_lightning.certification import in_float64
from gls_lightning.objectives import Batch, Certified, Objective
from gls_lightning.training import BoundedNetwork, IndexedImages, TrainingLoss, parameter_names


def landscape_loss(
    module: BoundedNetwork, images: IndexedImages, *, objective: Objective | None = None, epsilon: float | None = None
) -> TrainingLoss:
    """Makes the loss of some images, as a function of the network's trainable parameters, in float64.

    Points of a landscape lie close together, so in float32 rounding would look like curvature.

    Args:
        module: The module; it is not changed.
        images: Images, labels and indices.
        objective: The objective. By default the module's, or Certified if that one bounds nothing.
        epsilon: Radius. By default the module's target.
    """
    inputs, labels, indices = images
    tensors = module.tensors()
    names = parameter_names(module.network, tensors)
    if objective is None:
        objective = module.objective if module.objective.uses_relaxation else Certified()
    starts = objective.draw_starts(module.graph, indices, module.seed, device=inputs.device)
    radius = torch.tensor(module.epsilon if epsilon is None else epsilon, dtype=torch.double, device=inputs.device)
    exact = inputs.double()
    batch = Batch(exact, labels, radius, tuple(start.double() for start in starts), targets=objective.targets(exact))
    return TrainingLoss(module.graph, module.relaxation, objective, in_float64(tensors), names, batch)
