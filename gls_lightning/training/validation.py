"""Accuracies of a bounded network on a batch of validation images."""

from typing import NamedTuple

from torch import Tensor

from gls_lightning.attacks import Attack
from gls_lightning.batches import in_precision_of
from gls_lightning.bounds import Box, margin_specification
from gls_lightning.objectives import robust_cross_entropy
from gls_lightning.relaxations import CROWNIBP
from gls_lightning.training.network import BoundedNetwork


class Validation(NamedTuple):
    """The findings of validation about a batch.

    Attributes:
        natural: Which images are classified correctly, ``[B]``, bool.
        certified: Which of these are proved robust, ``[B]``, bool.
        adversarial: Which of these the attack leaves correct, ``[B]``, bool; those that are certified are not attacked.
        loss: The robust cross-entropy of the bounds, 0-dim.
    """

    natural: Tensor
    certified: Tensor
    adversarial: Tensor
    loss: Tensor


def validate(module: BoundedNetwork, attack: Attack, inputs: Tensor, labels: Tensor, indices: Tensor) -> Validation:
    """Measures a batch at the target radius, with the relaxation that trains, or CROWN-IBP if that is not sound.

    Args:
        module: The network and its relaxation.
        attack: What is tried where there is no proof.
        inputs: Images, ``[B, *input]``.
        labels: Their classes, ``[B]``.
        indices: Their indices in the data set, ``[B]``, on which the attack's starts depend.
    """
    relaxation = module.relaxation if module.relaxation.sound else CROWNIBP()
    tensors = module.tensors()
    inputs = in_precision_of(tensors.values(), inputs)
    box = Box.around(inputs, module.epsilon)
    specification = margin_specification(labels, module.graph.num_outputs, inputs.dtype)
    lower = relaxation(module.graph, tensors, box, specification)
    natural = module.graph(tensors, inputs).argmax(1) == labels
    certified = natural & (lower > 0).all(1)
    robust = certified.clone()
    if (open_ := (natural & ~certified).nonzero().flatten()).numel():
        robust[open_] = _survive(module, attack, Box(*(side[open_] for side in box)), labels[open_], indices[open_])
    return Validation(natural, certified, robust, robust_cross_entropy(lower))


def _survive(module: BoundedNetwork, attack: Attack, box: Box, labels: Tensor, indices: Tensor) -> Tensor:
    """Says for each image whether the attack fails, ``[B]``."""
    tensors = module.tensors()
    starts = attack.draw_starts(module.graph.input_shape, indices, module.seed, device=labels.device)

    def logits(x: Tensor) -> Tensor:
        return module.graph(tensors, x)

    return logits(attack(logits, *box, labels, starts)).argmax(1) == labels
