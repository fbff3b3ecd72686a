"""Numbers that say why a training goes as it does."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.batches import in_precision_of
from gls_lightning.bounds import Box
from gls_lightning.diagnostics import gradient_statistics, preactivation_bounds, propagation_tightness, relu_states
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Step
from gls_lightning.objectives import Batch
from gls_lightning.randomness import keyed_generator
from gls_lightning.training import (
    BoundedNetwork,
    ChosenEpochs,
    IndexedImages,
    ValidationImages,
    bounded_network,
    require_validation,
)


class TrainingStatistics(Callback):
    """Measures what bounds and gradients are like on the first validation images, at the target radius.

    Logs under ``statistics/``, after the validation of the chosen epochs. Nothing is measured unless it is asked for,
    and the training is the same with and without: the estimator is copied, and random numbers are its own. Every
    process measures the same. Bounds are those of the network as validation sees it; the gradient is that of the loss
    that trains, regularisers and the batch statistics of BatchNorm included.

    Args:
        relu_states: Logs which fractions of the ReLUs the bounds of the module's relaxation leave unstable (input of
            either sign), inactive (always 0) and active: ``relu/NODE/unstable`` and so on for each layer,
            ``relu/unstable`` and so on for all. Many unstable ones: relaxations are loose and certification is hard.
            Many inactive ones: the network is over-regularised.
        box_width: Logs the mean width of these bounds for each layer, ``box_width/NODE``. Where it explodes from layer
            to layer, training sees bounds rather than data.
        propagation_tightness: Logs ``propagation_tightness``, how exact interval bounds of the network are apart from
            its activations, between 0 and 1 (Mao et al., Understanding Certified Training with Interval Bound
            Propagation, 2024): the mean over images and logits of the true width of the linearised network's output
            box over the width by intervals. Training with interval bounds drives it towards 1, where intervals lose
            nothing between the layers; that is a strong regularisation.
        gradient: Evaluates the estimator several times and logs ``gradient/relative_variance``, the variance of an
            estimate over the squared norm of its mean (infinite where the estimates do not tell the mean from noise);
            ``gradient/cosine``, the mean cosine of the angle to the plain gradient; ``gradient/norm``, the norm of the
            plain gradient. For PGPE a cosine near ``sqrt(n / d)`` with n pairs and d parameters is what so few
            directions give. Without useful gradients of the relaxation, the first alone.
        gradient_samples: How many times the estimator is evaluated, each as expensive as a training step.
        samples: How many images.
        every_n_epochs: Measures after every so many epochs.
        epochs: The epochs, counted from 0, after which to measure, in place of ``every_n_epochs``.

    Raises:
        ConfigurationError: Nothing is to be measured, or a number is out of its range.
    """

    def __init__(
        self,
        *,
        relu_states: bool = False,
        box_width: bool = False,
        propagation_tightness: bool = False,
        gradient: bool = False,
        gradient_samples: int = 8,
        samples: int = 64,
        every_n_epochs: int = 1,
        epochs: list[int] | None = None,
    ) -> None:
        if not (relu_states or box_width or propagation_tightness or gradient):
            raise ConfigurationError(
                "TrainingStatistics measures nothing; set one or more of relu_states, box_width, "
                "propagation_tightness, gradient"
            )
        for name, value, least in (("samples", samples, 1), ("gradient_samples", gradient_samples, 2)):
            require(value >= least, f"TrainingStatistics.{name}", value, f"at least {least}")
        self.relu_states = relu_states
        self.box_width = box_width
        self.propagation_tightness = propagation_tightness
        self.gradient = gradient
        self.gradient_samples = gradient_samples
        self.samples = samples
        self.chosen_epochs = ChosenEpochs("TrainingStatistics", every_n_epochs, epochs)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is something to measure."""
        module = bounded_network(self, pl_module)
        require_validation(self, trainer)
        self.chosen_epochs.warn_of_absent(trainer)
        if self.gradient and not _is_differentiable(module):
            rank_zero_warn(
                f"TrainingStatistics does not log the cosine to the gradient and its norm: relaxation "
                f"{type(module.relaxation).__name__} has no useful gradients."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what the network and the data must have."""
        ValidationImages(self, trainer)
        if (self.relu_states or self.box_width) and not bounded_network(self, pl_module).graph.relus:
            raise ConfigurationError(
                "TrainingStatistics measures ReLUs, of which the network has none; leave relu_states and box_width off"
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures and logs."""
        if not self.chosen_epochs.now(trainer):
            return
        batch = ValidationImages(self, trainer).first(self.samples)
        module = bounded_network(self, pl_module)
        measured: dict[str, Tensor] = {}
        with module.evaluation(batch, 0, "val") as (inputs, labels, indices):
            images = in_precision_of(module.tensors().values(), inputs), labels, indices
            if self.relu_states or self.box_width:
                measured |= self._bounds(module, images[0])
            if self.propagation_tightness:
                tightness = propagation_tightness(module.graph, module.tensors(), images[0])
                measured["propagation_tightness"] = tightness.mean()
            if self.gradient:
                measured |= self._gradient(module, images)
        for name, value in measured.items():
            pl_module.log(f"statistics/{name}", value.float())

    def _bounds(self, module: BoundedNetwork, inputs: Tensor) -> dict[str, Tensor]:
        """States of the ReLUs, and widths of their inputs."""
        box = Box.around(inputs, module.epsilon)
        bounds = preactivation_bounds(module.relaxation, module.graph, module.tensors(), box)
        measured: dict[str, Tensor] = {}
        if self.box_width:
            measured |= {f"box_width/{name}": (box.upper - box.lower).mean() for name, box in bounds.items()}
        if self.relu_states:
            groups = {**{f"relu/{name}": [box] for name, box in bounds.items()}, "relu": list(bounds.values())}
            for group, boxes in groups.items():
                measured |= {f"{group}/{state}": value for state, value in relu_states(boxes)._asdict().items()}
        return measured

    def _gradient(self, module: BoundedNetwork, images: IndexedImages) -> dict[str, Tensor]:
        """Variance of the estimates, and how they compare with the gradient."""
        inputs, labels, indices = images
        seed = keyed_generator("training statistics", module.seed).initial_seed()  # not the noise that trained
        starts = module.objective.draw_starts(module.graph, indices, seed, device=inputs.device)
        radius = torch.full_like(module.current_epsilon, module.epsilon)
        loss = module.loss_of(Batch(inputs, labels, radius, starts, targets=module.objective.targets(inputs)))
        steps = [Step(seed, number) for number in range(self.gradient_samples)]
        found = gradient_statistics(module.estimator, loss, loss.params, steps, _is_differentiable(module))
        return {f"gradient/{name}": value for name, value in found._asdict().items() if value is not None}


def _is_differentiable(module: BoundedNetwork) -> bool:
    return module.relaxation.differentiable or not module.objective.uses_relaxation
