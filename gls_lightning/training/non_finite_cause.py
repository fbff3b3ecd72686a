"""Causes of numbers that are not finite, looked for when training has ended because of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from gls_lightning.bounds import Box, OpaqueGraph
from gls_lightning.training.network import BoundedNetwork

_SLOWER = "a smaller learning rate, gradient clipping or a slower epsilon_annealing may help"


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Names tensors with such numbers, and what the first of them holds; empty if there are none."""
    wrong = {name: tensor for name, tensor in tensors.items() if not tensor.isfinite().all()}
    if not wrong:
        return ""
    first, more = next(iter(wrong)), len(wrong) - 1
    kind = "nan" if wrong[first].isnan().any() else "inf"
    return f"{kind} in {first}" + (f" and {more} more" if more else "")


def cause_of_loss(module: LightningModule, batch: Any, optimizers: Iterable[Optimizer], step: int) -> str:
    """Finds the first of weights, images, network, bounds and loss that is not finite."""
    if wrong := not_finite(dict(module.named_parameters())):
        return cause_of_weights(wrong, module, optimizers)
    # Training does not read the running statistics: a batch is normalised by itself.
    buffers = {name: b for name, b in module.named_buffers() if not name.endswith(("running_mean", "running_var"))}
    if wrong := not_finite(buffers):
        return f"the weights are finite, but not a buffer: {wrong}"
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if isinstance(images, Tensor) and (wrong := not_finite({"the images of the batch": images})):
        return f"the data are to blame: {wrong}"
    largest, name = max((p.abs().max().item(), name) for name, p in module.named_parameters())
    weights = f"the weights and the images are finite, the largest weight {largest:.3g} in {name}"
    if not isinstance(module, BoundedNetwork):
        return f"{weights}: the module's own loss produced it"
    advice = _SLOWER if step else "no step was taken yet, so that the weights of the start are too large"
    if isinstance(images, Tensor) and (place := _overflow(module, images)):
        return f"{weights}, but {place} not; {advice}"
    members = module.estimator.population_size
    where = "" if members == 1 else f", for one of the {members} members"
    return (
        f"{weights}, and so are the network's outputs and interval bounds: {type(module.objective).__name__} with "
        f"{type(module.relaxation).__name__} produced it{where}"
    )


def cause_of_weights(wrong: str, module: LightningModule, optimizers: Iterable[Optimizer]) -> str:
    """Says with what the optimizer made the weights not finite, though the gradients were."""
    names = {id(p): name for name, p in module.named_parameters()}
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        state = {
            f"its {key} of {names.get(id(p), 'a parameter')}": value
            for p, values in optimizer.state.items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
        held = f"; {found}" if (found := not_finite(state)) else ""
        rate = ", ".join(f"{rate:g}" for rate in rates)
        return (
            f"the step of {kind} before made the weights not finite ({wrong}), though its gradient was, with learning "
            f"rate {rate}{held}; a smaller one may help"
        )
    return f"the weights are not finite: {wrong}"


def cause_of_gradient(module: LightningModule, loss: Tensor | None) -> str:
    """Names the parameters whose gradients are not finite, though the loss is."""
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    finite_loss = "" if loss is None else f"the loss is finite ({loss.item():.4g}), "
    if wrong := not_finite(gradients):
        return f"{finite_loss}its derivative is not: {wrong}"
    largest, name = max((g.abs().max().item(), name) for name, g in gradients.items())
    return (
        f"{finite_loss}and so is every derivative, but their norm overflows: up to {largest:.3g} in {name}; {_SLOWER}"
    )


@torch.no_grad()
def _overflow(module: BoundedNetwork, images: Tensor) -> str:
    """Finds the first of BatchNorm's statistics, the network's values and their interval bounds that is not finite."""
    graph, tensors = module.graph, module.tensors()
    images = images.to(module.current_epsilon)
    with torch.autocast(images.device.type, enabled=False):
        if isinstance(graph, OpaqueGraph):
            return "the network's outputs are" if not graph(tensors, images).isfinite().all() else ""
        statistics = graph.batch_statistics(tensors, images)
        if wrong := not_finite(statistics):
            return f"BatchNorm's statistics of the batch are ({wrong})"
        tensors |= statistics
        values = graph.propagate(images, lambda node, *inputs: node.operation.evaluate(tensors, *inputs))
        if place := next(_places(values), None):
            return f"the network's values at {place!r} are"
        boxes = graph.intervals(tensors, Box.around(images, module.current_epsilon.item()))
        place = next(_places({name: box.upper - box.lower for name, box in boxes.items()}), None)
        return "" if place is None else f"the interval bounds at {place!r} are"


def _places(values: Mapping[str, Tensor]) -> Iterator[str]:
    return (name for name, value in values.items() if not value.isfinite().all())
