"""Where network, relaxation, objective and estimator meet."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from inspect import Parameter, signature
from math import inf
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.saving import CHECKPOINT_PAST_HPARAMS_KEYS
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import LRSchedulerConfigType, LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric

from gls_lightning.arguments import Radius, alternatives, component, read_radius, shown, warn_of_large_radius
from gls_lightning.attacks import PGD, Attack
from gls_lightning.batches import DeferredValues, in_precision_of, read_batch, reading_waits, require_values
from gls_lightning.bounds import Box, Graph, OpaqueGraph, UnsupportedOperationError, margin_specification, trace
from gls_lightning.callbacks import (
    BatchGuard,
    BatchNormReset,
    EpochResumption,
    LearningRateCheck,
    MonitoredNames,
    NonFiniteGuard,
    WandbSummary,
    last_batch_size,
    ramps_of,
)
from gls_lightning.certification import Certifier, summarise, without_tf32
from gls_lightning.configuration import check_arguments
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Estimate, GradientEstimator, Reducer, Step, alone
from gls_lightning.objectives import L1, Batch, Certified, L1Scope, Objective, Regularizer, robust_cross_entropy
from gls_lightning.private_names import of_checkpoints, of_lightning, of_torch
from gls_lightning.relaxations import CROWNIBP, DeepPoly, Relaxation
from gls_lightning.training import ACCURACIES, TrainingLoss, on_first_process, parameter_names, process_sum
from gls_lightning.weights import read_checkpoint, read_weights, require_finite, require_same_architecture

Interval = Literal["epoch", "step"]
"""After what a learning rate schedule is stepped."""

Factory = TypeVar("Factory")
_ESTIMATOR = "estimator."
"""What precedes the names of the estimator's tensors in a checkpoint."""
_HYPERPARAMETERS = *CHECKPOINT_PAST_HPARAMS_KEYS, LightningModule.CHECKPOINT_HYPER_PARAMS_KEY
"""The keys of a checkpoint under which Lightning looks for a module's arguments; later ones win."""


_TOO_SMALL = (
    "has 1 image, of which BatchNorm sees one value for each channel and no variance; set drop_last=True in the "
    "training DataLoader (data.drop_last: true), or a batch_size that leaves no single image"
)


class _EpochMean(MeanMetric):
    """A mean that survives inference mode, in which Lightning resets it after ``validate``, for a later ``fit``."""

    PARTS = ("mean_value", "weight")

    @torch.inference_mode(False)
    def reset(self) -> None:
        super().reset()


class CertifiedTrainingModule(LightningModule):
    """Trains a network so that its robustness can be proved.

    Every training step forms the objective (a loss that depends on bounds of the network over a box around each image)
    and lets the estimator attach its estimate of the gradient; the rest is Lightning's automatic optimisation.
    Batches are ``(images in [0, 1], labels)``, optionally followed by the images' indices in their data set. Each is
    checked: images are floating-point numbers, which training and validation take in the network's precision, labels
    and indices integers of any type, labels from 0 to K - 1 for K classes.

    Training logs ``train/loss``, ``train/natural_accuracy``, ``train/certified_accuracy`` (at the current radius, means
    over the estimator's population), ``epsilon``, ``sigma`` and ``learning_rate``. Validation and test log
    ``natural_accuracy``, ``certified_accuracy`` and ``adversarial_accuracy`` under ``val/`` and ``test/``, always at
    the target radius. Validation counts what the relaxation that trains certifies, or CROWN-IBP if that is not sound,
    in the precision of training, and ``val/loss`` is the robust cross-entropy of these bounds; the test proves with the
    certifier, in float64 and whatever rounding does. Adversarial accuracy
    is the fraction of images that are classified correctly and that the attack leaves so: an upper bound of the robust
    accuracy, as certified accuracy is a lower one.

    Args:
        network: Maps images in [0, 1] to logits; normalisation is part of it.
        epsilon: Target radius of the perturbations in the l-infinity norm, between 0 and 1: a number or a fraction such
            as ``8/255``.
        relaxation: How the network is bounded. By default DeepPoly.
        estimator: How the gradient of the loss is estimated. By default RGS.
        objective: What is minimised. By default Certified.
        l1: Factor of the sum of the absolute weights, which training adds to the objective; 0 for none.
        l1_scope: What that sum is over: ``weights`` of linear and convolutional layers, or ``all`` trained parameters.
        regularizer: A further term that training adds, for example ShiRegularizer.
        optimizer: Makes the optimizer from the trainable parameters.
        scheduler: Makes the learning rate schedule from the optimizer. PyTorch's ``ReduceLROnPlateau`` watches
            ``val/loss``, Lightning's its ``monitor``.
        scheduler_interval: Whether the schedule is stepped after each ``epoch`` or after each ``step`` of the
            optimizer, as ``OneCycleLR`` and warm-ups need; its arguments are counted in these.
        attack: Attack of the validation. By default PGD.
        certifier: Proves the robustness of the test images. By default an attack, then IBP, CROWN-IBP and DeepPoly.
        seed: Seed of the perturbations and of the attacks' starts.
        population_parallel: Whether several processes share one batch and divide the estimator's population among
            them, instead of dividing the batches. Needs ``trainer.use_distributed_sampler: false``.
        input_shape: Shape of one image. By default that of the data module, or of the first batch.
        init_from: The network's weights at the start of a fit, in place of those of its initialisation: the checkpoint
            of a run, of which only the network is taken, or a ``.safetensors`` file of the network alone. Read once,
            when the fit starts; not read once other weights were loaded (``load``, a fit that is resumed) and not by
            an evaluation.

    Attributes:
        current_epsilon: The radius that training uses now, a 0-dim buffer; a function of the training step alone,
            therefore not part of checkpoints.
        deferred_values: What checks of batches have noted on a GPU, read where metrics are.

    Raises:
        ConfigurationError: An argument is out of its range; before training starts: the parts do not fit together; at
            any batch: it is not as above.
    """

    current_epsilon: Tensor

    def __init__(
        self,
        *,
        network: nn.Module,
        epsilon: Radius,
        relaxation: Relaxation | None = None,
        estimator: GradientEstimator | None = None,
        objective: Objective | None = None,
        l1: float = 0.0,
        l1_scope: L1Scope = "weights",
        regularizer: Regularizer | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=5e-4),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Interval = "epoch",
        attack: Attack | None = None,
        certifier: Certifier | None = None,
        seed: int = 0,
        population_parallel: bool = False,
        input_shape: Sequence[int] | None = None,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        epsilon = read_radius(epsilon)
        warn_of_large_radius(epsilon)
        if seed < 0:
            raise ConfigurationError(f"seed is {seed}; it must not be negative")
        if not 0 <= l1 < inf:
            raise ConfigurationError(f"l1 is {l1}; it must be a finite number of at least 0")
        if scheduler_interval not in get_args(Interval):
            raise ConfigurationError(f"scheduler_interval is {scheduler_interval!r}; it must be epoch or step")
        self._save_plain_hyperparameters()
        self.network = _network(network)
        self.relaxation = component("relaxation", relaxation, Relaxation) or DeepPoly()
        self.estimator = component("estimator", estimator, GradientEstimator) or RGS()
        self.objective = component("objective", objective, Objective) or Certified()
        component("regularizer", regularizer, Regularizer)
        weight_penalty = L1(weight=l1, scope=l1_scope)
        self.regularizers = [term for term in (weight_penalty if l1 else None, regularizer) if term is not None]
        self.optimizer = _factory("optimizer", optimizer, "lambda params: torch.optim.Adam(params, lr=5e-4)")
        self.scheduler = scheduler and _factory("scheduler", scheduler, "lambda optimizer: StepLR(optimizer, 10)")
        self.scheduler_interval = scheduler_interval
        self._watched_until = -1  # the batch after which schedules that watch a metric were last stepped
        self.attack = component("attack", attack, Attack) or PGD()
        self.certifier = component("certifier", certifier, Certifier) or Certifier()
        self.epsilon = epsilon
        self.seed = seed
        self.population_parallel = population_parallel
        self._unread_init_from = init_from
        self._init_from_of_checkpoint: str | None = None
        self.register_buffer("current_epsilon", torch.tensor(self.epsilon), persistent=False)
        self.means = nn.ModuleDict()
        self._begun_means: dict[str, dict[str, Tensor]] = {}
        self.deferred_values = DeferredValues()
        self._graph: Graph | None = None
        self.estimator.prepare(self._trainable())
        if input_shape is not None:
            self.trace(input_shape)

    def _save_plain_hyperparameters(self) -> None:
        """Keeps what a checkpoint can hold: plain values, and the specs of components that the command line made."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute .* is an instance of `nn.Module`")  # dropped below
            self.save_hyperparameters(logger=False)
        plain = (bool, int, float, str, list, tuple, dict, type(None))
        objects = {name: value for name, value in self.hparams.items() if not isinstance(value, plain)}
        self.remove_ignored_hparams(list(objects))
        parameters = {**signature(CertifiedTrainingModule).parameters, **signature(type(self)).parameters}
        self._given_objects = [
            name for name, value in objects.items() if name not in parameters or value is not parameters[name].default
        ]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares what makes the optimizer and its schedule: the command line's cannot always be copied."""
        memo |= {id(factory): factory for factory in (self.optimizer, self.scheduler)}
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__ = deepcopy(self.__getstate__(), memo)
        return copy

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits ``[B, K]`` of images ``[B, *input]``."""
        logits: Tensor = self.network(inputs)
        return logits

    @property
    def graph(self) -> Graph:
        """The traced network.

        Raises:
            ConfigurationError: The shape of the images is not known yet.
        """
        if self._graph is None:
            raise ConfigurationError("the network is not traced: give input_shape, or call trace(input_shape)")
        return self._graph

    def trace(self, input_shape: Sequence[int]) -> None:
        """Finds the operations of the network for images of this shape.

        Raises:
            ConfigurationError: The network has a layer that cannot be bounded, and the relaxation needs to know it.
        """
        try:
            self._graph = trace(self.network, input_shape)
        except UnsupportedOperationError as error:
            if self.relaxation.needs_graph:
                raise
            self._graph = OpaqueGraph(self.network, input_shape, error)

    def tensors(self) -> dict[str, Tensor]:
        """The network's parameters and buffers, as the graph takes them."""
        parameters = self.network.named_parameters(remove_duplicate=False)
        return {**dict(parameters), **dict(self.network.named_buffers(remove_duplicate=False))}

    def configure_callbacks(self) -> list[Callback]:
        """Lists what every training needs: guards, BatchNorm statistics of the data, best accuracies in W&B."""
        reset = [BatchNormReset()] if self._has_batch_norm else []
        guards = BatchGuard(), NonFiniteGuard(), MonitoredNames(self._monitorable()), LearningRateCheck()
        return [*guards, EpochResumption(), WandbSummary(), *reset]

    def _monitorable(self) -> list[str] | None:
        """The metrics that are logged outside of training steps; None for a derived class, which may log others."""
        if type(self) is not CertifiedTrainingModule:
            return None
        scalar = getattr(self.estimator, "sigma", None)
        sigma = ["sigma"] if isinstance(scalar, Tensor) and scalar.ndim == 0 else []
        return [*(f"val/{name}" for name in (*ACCURACIES, "loss")), "epsilon", "learning_rate", *sigma]

    @property
    def _has_batch_norm(self) -> bool:
        return any(isinstance(module, of_torch.BatchNorm) for module in self.network.modules())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of all trainable parameters, and its schedule."""
        trainable = list(self._trainable().values())
        if not trainable:
            raise ConfigurationError("the network has no trainable parameter")
        with _configuration_of("model.optimizer"):
            optimizer = self.optimizer(trainable)
        if self.scheduler is None:
            return optimizer
        with _configuration_of("model.scheduler"):
            scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": self._watching(scheduler)}
        if self.scheduler_interval == "step":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _watching(self, scheduler: ReduceLROnPlateau) -> LRSchedulerConfigType:
        """Describes a schedule with the metric that it watches, after each epoch that has one."""
        metric = getattr(scheduler, "monitor", "val/loss")  # Lightning's own class names one
        if self.scheduler_interval == "step":
            raise ConfigurationError(
                f"ReduceLROnPlateau watches {metric} after epochs: model.scheduler_interval is step; set it to epoch"
            )
        if not metric.startswith("val/"):
            return {"scheduler": scheduler, "monitor": metric}
        if not self.trainer.enable_validation:
            raise ConfigurationError(
                f"ReduceLROnPlateau watches {metric}, but this fit has no validation; give it validation images"
            )
        every = self.trainer.check_val_every_n_epoch
        return {"scheduler": scheduler, "monitor": metric, "frequency": every or 1, "strict": every is not None}

    def on_train_epoch_end(self) -> None:
        """Steps schedules that watch a metric, so that the epoch's checkpoints hold that: Lightning does so after."""
        loop = self.trainer.fit_loop.epoch_loop
        self._watched_until = -1
        if self.trainer.is_last_batch:
            loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
            self._watched_until = loop.total_batch_idx

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:
        """Steps a schedule, but not again after the epoch where it watches a metric."""
        if metric is None or self._watched_until != self.trainer.fit_loop.epoch_loop.total_batch_idx:
            super().lr_scheduler_step(scheduler, metric)

    def setup(self, stage: str) -> None:
        """Refuses, before anything long starts, parts that do not fit together."""
        self.deferred_values = DeferredValues()
        if self.trainer.precision in ("bf16-true", "16-true"):
            raise ConfigurationError(
                f"trainer.precision is {self.trainer.precision}, which rounds perturbations of parameters and images "
                "away; use 32-true or 64-true"
            )
        data = getattr(self.trainer, "datamodule", None)
        shape = getattr(data, "input_shape", None)
        if shape is not None:
            self.trace(shape)
        if self._graph is not None:
            self._check_network(getattr(data, "num_classes", None))
        if stage == "fit":
            self._check_training()
            learned = [name for name, _ in self.named_buffers() if name.startswith(_ESTIMATOR)]
            of_torch.leave_to_processes(self, learned)

    def _check_network(self, num_classes: int | None = None) -> None:
        if num_classes not in (None, self.graph.num_outputs):
            raise ConfigurationError(
                f"the network has {self.graph.num_outputs} outputs, but the data {num_classes} classes"
            )
        if self.trainer.state.fn != "fit":
            return
        self.objective.check(self.graph)
        if self.graph.dropout > 0:
            raise ConfigurationError(
                f"the network has dropout with probability {self.graph.dropout}; bounds hold for the network without "
                "it, so training needs probability 0"
            )

    def _check_training(self) -> None:
        if (
            self.objective.uses_relaxation
            and self.estimator.needs_differentiable
            and not self.relaxation.differentiable
        ):
            raise ConfigurationError(
                f"relaxation {type(self.relaxation).__name__} has no useful gradients, which estimator "
                f"{type(self.estimator).__name__} needs; choose a relaxation that has them, such as DeepPoly"
            )
        if self.population_parallel and self.estimator.population_size == 1:
            raise ConfigurationError(
                f"population_parallel divides a population, and estimator {type(self.estimator).__name__} has none; "
                "set model.population_parallel: false"
            )
        self._step(0).members(self.estimator.population_size)
        shards = self.trainer.world_size > 1 and of_lightning.shares_batches(self.trainer)
        if self.population_parallel and shards:
            raise ConfigurationError(
                "population_parallel needs the same batch on every process; set trainer.use_distributed_sampler: false"
            )
        if self._has_batch_norm and self.trainer.world_size > 1 and not self.population_parallel:
            rank_zero_warn("BatchNorm takes its statistics from each process's own part of the batch.")
        self._warn_of_terms()

    def _warn_of_terms(self) -> None:
        """Says what terms of the loss will not do, though the run is a valid one."""
        apart = self.trainer.world_size > 1 and not self.population_parallel
        terms: list[Objective | Regularizer] = [self.objective, *self.regularizers]
        for term in terms:
            if apart and term.uses_batch_statistics:
                rank_zero_warn(
                    f"{type(term).__name__} is no mean over samples, and each process computes it for its own part of "
                    "the batch."
                )
        annealed = self.epsilon > 0 and any(ramp.end_epoch for ramp in ramps_of(self.trainer))
        for term in self.regularizers:
            if term.fades_with_epsilon and not annealed:
                rank_zero_warn(
                    f"{type(term).__name__} acts only while epsilon is annealed, so in this run not at all; set "
                    "epsilon_annealing.end_epoch"
                )

    def on_fit_start(self) -> None:
        """Takes the weights of ``init_from``; only here is it known that the fit does not resume."""
        self.estimator.start_fit()
        if self._unread_init_from is not None:
            path = self._unread_init_from
            self.network.load_state_dict(on_first_process(self.trainer, lambda: self._read_weights(path)))
            self._unread_init_from = None

    def _read_weights(self, path: str) -> dict[str, Tensor]:
        with _configuration_of("model.init_from"):
            return read_weights(path, self.network)

    def on_train_start(self) -> None:
        """Refuses a last batch that is too small for BatchNorm, as far as the network is traced already."""
        if self._graph is not None:
            self._require_large_last_batch()

    def _require_large_last_batch(self) -> None:
        if self.graph.has_batch_norm:
            enough = last_batch_size(self.trainer) >= self.graph.smallest_batch
            if not self.trainer.strategy.reduce_boolean_decision(enough, all=True):
                number = int(self.trainer.num_training_batches) - 1
                raise ConfigurationError(f"batch {number}, the last of each epoch, {_TOO_SMALL}")

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """One evaluation of the estimator on a batch."""
        untraced = self._graph is None
        inputs, labels, indices = self._unpack(batch, batch_idx, "train", deferrable=True)
        if untraced:
            self._require_large_last_batch()
        if len(labels) < self.graph.smallest_batch:
            raise ConfigurationError(f"batch {batch_idx} of epoch {self.current_epoch} {_TOO_SMALL}")
        inputs = in_precision_of(self.network.parameters(), inputs)
        trainable = self._trainable()
        step = self._step(self.trainer.fit_loop.epoch_loop.total_batch_idx)
        starts = self.objective.draw_starts(self.graph, indices, step.seed, step.batch, device=inputs.device)
        share = self._share(inputs, batch_idx)
        with self._full_precision():
            loss = self.loss_of(Batch(inputs, labels, self.current_epsilon, starts, self._progress))
            if step.batch == 0 and self.estimator.population_size > 1:
                rank_zero_info(f"members of a population that may be evaluated at once: {loss.members_at_once}")
            estimate: Estimate = self.estimator(loss, trainable, replace(step, reduce=self._reducer(share)))
        self._log_training(estimate, len(labels))
        return estimate.loss * share

    def _step(self, batch: int) -> Step:
        if self.population_parallel:
            return Step(self.seed, batch, self.global_rank, self.trainer.world_size)
        return Step(self.seed, batch)

    @property
    def _progress(self) -> float:
        """Share of the target radius that training uses now; exactly 1 where the radius is the target."""
        target = torch.tensor(self.epsilon, dtype=self.current_epsilon.dtype).item()
        return self.current_epsilon.item() / target if target else 1.0

    def _trainable(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def loss_of(self, batch: Batch) -> TrainingLoss:
        """The loss of a batch that training differentiates, as a function of the trainable parameters."""
        tensors = self.tensors()
        names = parameter_names(self, tensors)
        return TrainingLoss(self.graph, self.relaxation, self.objective, tensors, names, batch, self.regularizers)

    def _reducer(self, share: Tensor | float) -> Reducer:
        """What sums over the processes, weighted by their shares of the samples."""
        world_size = self.trainer.world_size
        if world_size == 1:
            return alone
        weight = 1.0 if self.population_parallel else share / world_size
        return lambda value: process_sum(self.trainer, value * weight)

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """The optimizer's step, and then that of what the estimator learns."""
        super().optimizer_step(*args, **options)
        self.estimator.after_step()

    def _share(self, inputs: Tensor, batch_idx: int) -> Tensor | float:
        """Factor that makes the mean over processes the mean over samples, though their batches differ in size."""
        world_size = self.trainer.world_size
        if world_size == 1:
            return 1.0
        if self.population_parallel:
            if batch_idx == 0:
                self._require_equal_batches(inputs)
            return 1.0
        size = torch.tensor(float(len(inputs)), device=self.device)
        return size * world_size / process_sum(self.trainer, size.clone())

    def _require_equal_batches(self, inputs: Tensor) -> None:
        checksum = inputs.double().sum()
        equal = torch.isclose(process_sum(self.trainer, checksum.clone()), checksum * self.trainer.world_size)
        if not self.trainer.strategy.reduce_boolean_decision(bool(equal), all=True):
            raise ConfigurationError(
                "population_parallel needs the same batch on every process, but the data module gives different ones"
            )

    def _log_training(self, estimate: Estimate, batch_size: int) -> None:
        self.log("train/loss", estimate.loss.detach(), prog_bar=True, batch_size=batch_size, sync_dist=True)
        for name, value in estimate.metrics.items():
            self._log_mean(f"train/{name}", value, batch_size)
        self.log("epsilon", self.current_epsilon)
        sigma = getattr(self.estimator, "sigma", None)
        if isinstance(sigma, Tensor) and sigma.ndim == 0:
            self.log("sigma", sigma)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def _log_mean(self, name: str, value: Tensor | float, weight: float = 1.0, prog_bar: bool = False) -> None:
        """Logs the mean over the samples of an epoch, of all processes."""
        if name not in self.means:
            self.means[name] = self._begun_mean(name).to(self.device)
        mean = self.means[name]
        assert isinstance(mean, MeanMetric)
        mean.update(value, weight)
        # The attribute is named because Lightning looks for metrics only once, before this one is there.
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{name}")

    def _begun_mean(self, name: str) -> _EpochMean:
        """A mean that begins with what is known of its epoch from before the fit was resumed."""
        mean = _EpochMean()
        if self.trainer.ckpt_path and self.trainer.is_global_zero:
            for part, value in self._begun_means.pop(name, {}).items():
                setattr(mean, part, value)
        return mean

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Natural, certified and adversarial accuracy at the target radius, with a sound relaxation."""
        relaxation = self.relaxation if self.relaxation.sound else CROWNIBP()
        with self.evaluation(batch, batch_idx, "val", deferrable=True) as (inputs, labels, indices):
            tensors = self.tensors()
            inputs = in_precision_of(tensors.values(), inputs)
            box = Box.around(inputs, self.epsilon)
            specification = margin_specification(labels, self.graph.num_outputs, inputs.dtype)
            lower = relaxation(self.graph, tensors, box, specification)
            natural = self.graph(tensors, inputs).argmax(1) == labels
            certified = natural & (lower > 0).all(1)
            robust = certified.clone()
            if (open_ := (natural & ~certified).nonzero().flatten()).numel():
                robust[open_] = self._survives(
                    tensors, Box(*(side[open_] for side in box)), labels[open_], indices[open_]
                )
        for name, correct in zip(ACCURACIES, (natural, certified, robust), strict=True):
            self._log_mean(f"val/{name}", correct.float(), prog_bar=name == "certified_accuracy")
        self._log_mean("val/loss", robust_cross_entropy(lower))

    def _survives(self, tensors: Mapping[str, Tensor], box: Box, labels: Tensor, indices: Tensor) -> Tensor:
        """Whether the attack fails, ``[B]``."""
        starts = self.attack.draw_starts(self.graph.input_shape, indices, self.seed, device=labels.device)

        def logits(x: Tensor) -> Tensor:
            return self.graph(tensors, x)

        return logits(self.attack(logits, *box, labels, starts)).argmax(1) == labels

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Natural, certified and adversarial accuracy at the target radius, by the certifier."""
        with self.evaluation(batch, batch_idx) as (inputs, labels, indices):
            network = self.graph, self.tensors()
            records = list(self.certifier.decide(*network, inputs, labels, indices, self.epsilon))
        summary = summarise(records)
        for name in ACCURACIES:
            self._log_mean(f"test/{name}", getattr(summary, name), len(records))

    def _unpack(
        self, batch: Sequence[Tensor], batch_idx: int, split: str, *, deferrable: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        place = f"{split} batch {batch_idx}"
        read = read_batch(batch, place, None if self._graph is None else self._graph.input_shape)
        if self._graph is None:
            self.trace(read.images.shape[1:])
            self._check_network()
        if deferrable and reading_waits(read.images):
            read = self.deferred_values.note(read, place, self.graph.num_outputs)
        else:
            require_values(read, place, self.graph.num_outputs)
        inputs, labels, indices = read
        if indices is None:  # any number that no other image of the epoch has, whatever the sizes of the batches
            indices = torch.arange(len(labels), device=labels.device) + (batch_idx << 32)
        # Autograd, on which attacks depend, refuses the tensors of inference mode.
        return inputs.clone() if inputs.is_inference() else inputs, labels.clone(), indices

    @contextmanager
    def evaluation(
        self, batch: Sequence[Tensor], batch_idx: int, split: str = "test", *, deferrable: bool = False
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images, labels and indices of a batch, within what evaluating them needs: full precision and no gradients.

        Args:
            batch: The batch.
            batch_idx: Its number.
            split: Where it comes from, for messages: ``train``, ``val`` or ``test``.
            deferrable: Whether a GPU may note bad values for later, in place of waiting for it.

        Raises:
            ConfigurationError: The batch is no batch of labelled images for this network.
        """
        with torch.inference_mode(False), torch.no_grad(), self._full_precision(), without_tf32():
            yield self._unpack(batch, batch_idx, split, deferrable=deferrable)

    def _full_precision(self) -> torch.autocast:
        """Bounds and perturbations do not survive the rounding of half precision."""
        return torch.autocast(self.device.type, enabled=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the class, so that ``load`` finds it, and the arguments that it must be given again."""
        checkpoint["module_class"] = f"{type(self).__module__}:{type(self).__qualname__}"
        checkpoint["given_objects"] = self._given_objects
        checkpoint["unread_init_from"] = self._unread_init_from
        begun = {name: mean for name, mean in self.means.items() if name.startswith("train/")}
        if begun and not self.trainer.is_last_batch:  # a run that goes on within an epoch logs the mean over all of it
            checkpoint["begun_means"] = {
                name: {part: process_sum(self.trainer, getattr(mean, part).clone()) for part in _EpochMean.PARTS}
                for name, mean in begun.items()
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another architecture, or with weights that are not finite.

        Raises:
            ConfigurationError: Names or shapes of the tensors differ, or numbers are not finite.
        """
        own, saved = self.state_dict(), checkpoint["state_dict"]
        require_same_architecture(*({n: t for n, t in s.items() if not n.startswith(_ESTIMATOR)} for s in (saved, own)))
        if {n for n in own if n.startswith(_ESTIMATOR)} != {n for n in saved if n.startswith(_ESTIMATOR)}:
            raise ConfigurationError(
                "the checkpoint is of another estimator, or of other trainable parameters; model.init_from takes its "
                "network alone"
            )
        for tensors in (saved, checkpoint.get("current_model_state", {})):  # the latter are SWA's
            require_finite(tensors)
        self._init_from_of_checkpoint = checkpoint.get("unread_init_from")
        self._begun_means = checkpoint.get("begun_means", {})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads tensors, which ``init_from`` will not replace.

        A checkpoint from before the reading is the exception: Lightning's BatchSizeFinder loads one as the fit starts.
        """
        self._unread_init_from, self._init_from_of_checkpoint = self._init_from_of_checkpoint, None
        return super().load_state_dict(state_dict, strict, assign)


def _network(network: nn.Module | None) -> nn.Module:
    if (given := component("network", network, nn.Module)) is None:
        raise ConfigurationError("network is None; it must be an object of a class derived from torch.nn.Module")
    return given


def _factory(name: str, given: Factory, example: str) -> Factory:
    """Refuses what has been made in place of what makes it."""
    if not callable(given):
        raise ConfigurationError(f"{name} is {shown(given)}; give a function that makes one, such as {example}")
    return given


@contextmanager
def _configuration_of(key: str) -> Iterator[None]:
    """Makes a bad argument of PyTorch's constructors bad input."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from error


def load(path: str | Path, *, trust_run: bool = False, **arguments: Any) -> CertifiedTrainingModule:
    """Loads a module from a checkpoint, as the class that was saved.

    Args:
        path: The checkpoint.
        trust_run: Whether it may name any function or class for the module's arguments, as a checkpoint of one's own
            may: whoever made it then decides what is executed.
        **arguments: Arguments of the class's constructor. Those that were given as objects in Python, such as the
            network or a function for the optimizer, are not in the checkpoint and must be given again; others override
            the checkpoint's. Modules made by the command line need none.

    Raises:
        ConfigurationError: The file does not exist or is no checkpoint of a ``CertifiedTrainingModule``, its class is
            not imported, it is of another architecture, an object is not given again, or it names something that is no
            component and is not trusted.
    """
    checkpoint = read_checkpoint(path)
    name = checkpoint.get("module_class")
    if not isinstance(name, str):
        raise ConfigurationError(f"{path} is no checkpoint of a CertifiedTrainingModule")
    module, _, qualified_name = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, CertifiedTrainingModule)):
        raise ConfigurationError(f"{path} is a checkpoint of {qualified_name}; import it from {module} before loading")
    _require_known(found, arguments)
    if missing := [name for name in checkpoint.get("given_objects", ()) if name not in arguments]:
        raise ConfigurationError(
            f"{path} does not hold the module's {', '.join(missing)}, given as objects in Python; give them to load too"
        )
    if not trust_run:
        _check_hyperparameters(checkpoint, found, arguments, str(path))
    return found.load_from_checkpoint(path, map_location="cpu", weights_only=True, **arguments)


def _require_known(found: type, arguments: Mapping[str, Any]) -> None:
    parameters = signature(found).parameters
    if any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in arguments.keys() - parameters.keys() - {"strict", "hparams_file"}:  # Lightning's own
        said = f"{found.__name__} has no argument {name}, which load was given"
        raise ConfigurationError(said + alternatives(name, parameters))


def _check_hyperparameters(
    checkpoint: Mapping[str, Any], found: type, arguments: Mapping[str, Any], source: str
) -> None:
    """Refuses what a checkpoint names that is no component, of all from which Lightning would make the module."""
    saved = {name: value for key in _HYPERPARAMETERS for name, value in checkpoint.get(key, {}).items()}
    names = signature(found.__init__).parameters  # type: ignore[misc]
    open_ended = any(parameter.kind == Parameter.VAR_KEYWORD for parameter in names.values())
    used = {name: value for name, value in saved.items() if open_ended or name in names}
    if used.pop(of_checkpoints.INSTANTIATOR, saved.get(of_checkpoints.INSTANTIATOR)) is not None:
        folders = [str(Path.cwd()), sys.path[0]]
        check_arguments(found, used, arguments.keys(), source, folders, "load(..., trust_run=True)")
