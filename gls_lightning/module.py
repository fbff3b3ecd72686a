"""The module that trains a network so that its robustness can be proved."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from gls_lightning.arguments import Radius, component, read_radius, require, warn_of_large_radius
from gls_lightning.attacks import PGD, Attack
from gls_lightning.batches import DeferredValues, in_precision_of
from gls_lightning.callbacks import (
    BatchGuard,
    BatchNormReset,
    EpochResumption,
    LearningRateCheck,
    MonitoredNames,
    NonFiniteGuard,
    WandbSummary,
)
from gls_lightning.certification import Certifier, summarise
from gls_lightning.estimators import RGS, Estimate, GradientEstimator, Reducer, Step
from gls_lightning.objectives import L1, Batch, Certified, L1Scope, Objective, Regularizer
from gls_lightning.private_names import of_torch
from gls_lightning.relaxations import DeepPoly, Relaxation
from gls_lightning.run_files import ACCURACY_METRICS
from gls_lightning.training import (
    ESTIMATOR,
    Capture,
    CapturedLosses,
    EpochMeans,
    InitialWeights,
    Interval,
    OptimizedNetwork,
    StepMetrics,
    check_classes,
    check_fit,
    check_precision,
    check_trained_network,
    clip_with_norm,
    clips_by_norm,
    keep_plain_arguments,
    metrics_are_due,
    reducer,
    require_equal_batches,
    require_fitting_checkpoint,
    require_large_batch,
    require_large_last_batch,
    share_of_batch,
    validate,
    warn_of_idle_regularizers,
)


class CertifiedTrainingModule(OptimizedNetwork):
    """Trains a network so that its robustness can be proved.

    In every training step the objective, a loss that depends on bounds of the network over a box around each image, is
    given to the estimator, which evaluates it and attaches its estimate of the gradient. The rest is Lightning's
    automatic optimisation. Batches are ``(images in [0, 1], labels)``, optionally followed by the images' indices in
    their data set. Each is checked: images are floating-point numbers, which training and validation take in the
    network's precision; labels and indices are integers of any type, labels from 0 to K - 1 for K classes.

    Training logs ``train/loss``, ``train/natural_accuracy``, ``train/certified_accuracy`` (at the current radius, means
    over the estimator's population), ``epsilon``, ``sigma`` and ``learning_rate``. Validation and test log
    ``natural_accuracy``, ``certified_accuracy`` and ``adversarial_accuracy`` under ``val/`` and ``test/``, always at
    the target radius. Validation counts the images that the relaxation of the training certifies, or CROWN-IBP if that
    is not sound, in the precision of training; ``val/loss`` is the robust cross-entropy of these bounds. The test
    proves with the certifier, in float64 and whatever rounding does. Adversarial accuracy is the fraction of images
    that are classified correctly and that the attack leaves so: an upper bound of the robust accuracy, as certified
    accuracy is a lower one.

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
        capture: Whether loss and gradient of a training step are recorded in a CUDA graph and replayed, which spares
            the GPU the wait for Python: ``auto`` where that is possible, ``true`` to be refused where it is not, or
            ``false``. The numbers are the same. Not possible on a CPU, with several processes, and with objectives or
            relaxations that read values of tensors; smaller batches than the first are evaluated without recording.
        init_from: The network's weights at the start of a fit, in place of those of its initialisation: the checkpoint
            of a run, of which only the network is taken, or a ``.safetensors`` file of the network alone. Read once,
            when the fit starts; not read once other weights were loaded (``load``, a fit that is resumed) and not by
            an evaluation.

    Raises:
        ConfigurationError: An argument is out of its range; before training starts: the parts do not fit together; at
            any batch: it is not as above.

    Example:
        >>> from gls_lightning.relaxations import CROWNIBP
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
        >>> module = CertifiedTrainingModule(network=network, epsilon=0.05, relaxation=CROWNIBP())
        >>> module(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

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
        capture: Capture = "auto",
        init_from: str | None = None,
    ) -> None:
        epsilon = read_radius(epsilon)
        warn_of_large_radius(epsilon)
        require(seed >= 0, "seed", seed, "at least 0")
        require(0 <= l1 < inf, "l1", l1, "a finite number of at least 0")
        component("regularizer", regularizer, Regularizer)
        weight_penalty = L1(weight=l1, scope=l1_scope)
        super().__init__(
            network,
            epsilon=epsilon,
            relaxation=component("relaxation", relaxation, Relaxation) or DeepPoly(),
            objective=component("objective", objective, Objective) or Certified(),
            estimator=component("estimator", estimator, GradientEstimator) or RGS(),
            regularizers=[term for term in (weight_penalty if l1 else None, regularizer) if term is not None],
            seed=seed,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
        )
        self._given_objects = keep_plain_arguments(self, CertifiedTrainingModule)
        self.attack = component("attack", attack, Attack) or PGD()
        self.certifier = component("certifier", certifier, Certifier) or Certifier()
        self.population_parallel = population_parallel
        self._initial_weights = InitialWeights(init_from)
        self.means, self.step_metrics = EpochMeans(), StepMetrics()
        self._captured = CapturedLosses(capture)
        if input_shape is not None:
            self.trace(input_shape)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Evaluates the estimator on a batch: the loss, with the estimate as its gradient."""
        inputs, labels, indices = self._training_batch(batch, batch_idx)
        step = self._step(self.trainer.fit_loop.epoch_loop.total_batch_idx)
        progress = self.follow_schedules(step.batch)
        starts = self.objective.draw_starts(self.graph, indices, step.seed, step.batch, device=inputs.device)
        share = self._share(inputs, batch_idx)
        with self.full_precision():
            targets = self.objective.targets(inputs)
            loss = self.loss_of(Batch(inputs, labels, self.current_epsilon, starts, progress, targets=targets))
            if step.batch == 0 and self.estimator.population_size > 1:
                rank_zero_info(f"members of a population that may be evaluated at once: {loss.members_at_once}")
            estimate: Estimate = self.estimator(
                self._captured(loss), self.trainable_parameters(), replace(step, reduce=self._reducer(share))
            )
        self._log_training(estimate, len(labels))
        return estimate.loss * share

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Logs natural, certified and adversarial accuracy at the target radius, with a sound relaxation."""
        with self.evaluation(batch, batch_idx, "val", deferrable=True) as images:
            *accuracies, loss = validate(self, self.attack, *images)
        correct = {f"val/{name}": images.float() for name, images in zip(ACCURACY_METRICS, accuracies, strict=True)}
        self.means.add(self, {**correct, "val/loss": loss}, len(loss), prog_bar=["val/certified_accuracy"])

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Logs natural, certified and adversarial accuracy at the target radius, by the certifier."""
        with self.evaluation(batch, batch_idx) as images:
            records = list(self.certifier.decide(self.graph, self.tensors(), *images, self.epsilon))
        summary = summarise(records)
        accuracies = {f"test/{name}": getattr(summary, name) for name in ACCURACY_METRICS}
        self.means.add(self, accuracies, len(records))

    def configure_callbacks(self) -> list[Callback]:
        """Lists what every training needs: guards, BatchNorm statistics of the data, best accuracies in W&B."""
        reset = [BatchNormReset()] if self.has_batch_norm else []
        guard = NonFiniteGuard(asked_by=CertifiedTrainingModule.configure_gradient_clipping)
        guards = BatchGuard(), guard, MonitoredNames(self._monitorable()), LearningRateCheck()
        return [*guards, EpochResumption(), WandbSummary(), *reset]

    def setup(self, stage: str) -> None:
        """Refuses, before anything long starts, parts that do not fit together."""
        self.deferred_values = DeferredValues()
        self._captured.end()  # of a fit that was broken off, after which nothing is torn down
        self.means.start()
        check_precision(self.trainer)
        if self.trainer.precision == "64-true":
            self.double()  # as Lightning does later, but a checkpoint is loaded before that and would be rounded
        data = getattr(self.trainer, "datamodule", None)
        shape = getattr(data, "input_shape", None)
        if shape is not None:
            self.trace(shape)
        if self.is_traced:
            check_classes(self, getattr(data, "num_classes", None))
            self.check_traced()
        if stage == "fit":
            check_fit(self, population_parallel=self.population_parallel)
            self._step(0).members(self.estimator.population_size)
            of_torch.leave_to_processes(self, [name for name, _ in self.named_buffers() if name.startswith(ESTIMATOR)])

    def check_traced(self) -> None:
        """Refuses a network that cannot be trained, if that is what is about to happen."""
        if self.trainer.state.fn == "fit":
            check_trained_network(self)

    def on_fit_start(self) -> None:
        """Takes the weights of ``init_from``; only here is it known that the fit does not resume."""
        self.estimator.start_fit()
        self._captured.start(self.device, self.relaxation, self.trainer.world_size)
        self.deferred_values = DeferredValues(self._captured.new_recorder())
        self._initial_weights.give(self.trainer, self.network)

    def teardown(self, stage: str) -> None:
        """Gives the memory of recorded steps back."""
        self.deferred_values = DeferredValues()
        self._captured.end()

    def on_train_start(self) -> None:
        """Refuses a last batch that is too small for BatchNorm, as far as the network is traced already."""
        warn_of_idle_regularizers(self)
        if self.is_traced:
            require_large_last_batch(self)

    def _training_batch(self, batch: Sequence[Tensor], batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Reads images in the network's precision, labels and indices; the first batch may tell the shape."""
        traced = self.is_traced
        inputs, labels, indices = self.read(batch, batch_idx, "train", deferrable=True)
        if not traced:
            require_large_last_batch(self)
        require_large_batch(self, len(labels), batch_idx)
        indices = self.drawing_indices(batch, batch_idx, indices)
        return in_precision_of(self.network.parameters(), inputs), labels, indices

    def _step(self, batch: int) -> Step:
        if self.population_parallel:
            return Step(self.seed, batch, self.global_rank, self.trainer.world_size)
        return Step(self.seed, batch)

    def _share(self, inputs: Tensor, batch_idx: int) -> Tensor | float:
        """Returns the weight of this process's loss."""
        if not self.population_parallel:
            return share_of_batch(self.trainer, len(inputs), self.device)
        if batch_idx == 0 and self.trainer.world_size > 1:
            require_equal_batches(self.trainer, inputs)
        return 1.0

    def _reducer(self, share: Tensor | float) -> Reducer:
        return reducer(self.trainer, share, of_population=self.population_parallel)

    def _log_training(self, estimate: Estimate, batch_size: int) -> None:
        self.means.add(self, {f"train/{name}": value for name, value in estimate.metrics.items()}, batch_size)
        learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        reported = {"epsilon": self.current_epsilon, **self.estimator.reported()}
        self.step_metrics.keep(estimate.loss, reported, learning_rate)
        if metrics_are_due(self.trainer):
            self.step_metrics.log(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradients, by a norm that NonFiniteGuard looks at too."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        guard = next((callback for callback in callbacks if isinstance(callback, NonFiniteGuard)), None)
        norm = None if guard is None else guard.check_gradient(self.trainer, self, optimizer)
        if norm is None or gradient_clip_val is None or not clips_by_norm(self.trainer, gradient_clip_algorithm):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val > 0:
            clip_with_norm(self.trainer, optimizer, norm, gradient_clip_val)

    def _monitorable(self) -> list[str] | None:
        """Lists the metrics logged outside of training steps; None for a derived class, which may log others."""
        if type(self) is not CertifiedTrainingModule:
            return None
        return [
            *(f"val/{n}" for n in (*ACCURACY_METRICS, "loss")),
            "epsilon",
            "learning_rate",
            *self.estimator.reported(),
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the class, so that ``load`` finds it, and the arguments that it must be given again."""
        checkpoint["module_class"] = f"{type(self).__module__}:{type(self).__qualname__}"
        checkpoint["given_objects"] = self._given_objects
        checkpoint["unread_init_from"] = self._initial_weights.unread
        if self.means.of_training and not self.trainer.is_last_batch:
            # A run that goes on within an epoch logs the mean over all of it.
            checkpoint["begun_means"] = self.means.begun(self.trainer)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another architecture, or with weights that are not finite.

        Raises:
            ConfigurationError: Names or shapes of the tensors differ, or numbers are not finite.
        """
        require_fitting_checkpoint(self, checkpoint)
        self._initial_weights.of_checkpoint = checkpoint.get("unread_init_from")
        self.means.go_on(checkpoint.get("begun_means", {}))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads tensors, which ``init_from`` will not replace.

        A checkpoint from before the reading is the exception: Lightning's BatchSizeFinder loads one as the fit starts.
        """
        self._initial_weights.replace()
        return super().load_state_dict(state_dict, strict, assign)
