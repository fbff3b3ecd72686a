"""The training loss as a recording: loss and gradient of a batch without Python in between."""

from collections.abc import Hashable, Sequence
from types import FunctionType
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from gls_lightning.arguments import require
from gls_lightning.bounds import TensorFloat32, fixed_sizes, holding_constants
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Evaluation, LossFunction, Params
from gls_lightning.objectives import Batch
from gls_lightning.private_names import of_torch
from gls_lightning.recorder import RECORDERS, CannotRecordError, Recorder
from gls_lightning.relaxations import Relaxation
from gls_lightning.training.loss import TrainingLoss

Capture = bool | Literal["auto"]
"""The choice to record training steps: ``auto`` does so where it is possible."""


class CapturedLosses:
    """The training losses of a fit, recorded on a GPU and replayed with other batches and parameters.

    A loss is recorded at the first batch, and again at a larger one, at the end of the annealing of epsilon, and where
    an option of its parts has changed. Smaller batches are evaluated as without recordings. The first replays are
    compared with that: two, so that one has another batch than was recorded.

    Args:
        capture: Whether to record.

    Raises:
        ConfigurationError: ``capture`` is something else.
    """

    def __init__(self, capture: Capture) -> None:
        require(capture == "auto" or isinstance(capture, bool), "model.capture", capture, "auto, true or false")
        self.capture = capture
        self._forget()

    def _forget(self) -> None:
        self._recorder: Recorder | None = None
        self._device: torch.device | None = None
        self._loss: TrainingLoss | None = None
        self._description: Hashable = None
        self._recordings: dict[Hashable, _Recording] = {}
        self._steps = self._begun = 0

    def start(self, device: torch.device, relaxation: Relaxation, processes: int) -> None:
        """Decides for a fit whether losses are recorded.

        Args:
            device: The device of the network.
            relaxation: How it is bounded.
            processes: Number of processes that train together.

        Raises:
            ConfigurationError: ``capture`` is true, but losses cannot be recorded.
        """
        self._forget()
        reasons = {
            f"the training runs on {device.type}, not on cuda": device.type not in RECORDERS,
            f"{processes} processes train together": processes > 1,
            f"{type(relaxation).__name__} is not made of tensor operations alone": not relaxation.capturable,
        }
        against = [reason for reason, holds in reasons.items() if holds]
        if self.capture is True and against:
            raise ConfigurationError(f"model.capture is true, but {against[0]}; set it to auto, or to false")
        if self.capture and not against:
            self._recorder, self._device = RECORDERS[device.type](device), device
        elif self.capture and device.type in RECORDERS:
            self._say_plain(against[0])

    def new_recorder(self) -> Recorder | None:
        """Makes a recorder for another part of this fit's steps, if its losses are recorded.

        It shares no memory with theirs, which a device takes back only from recordings that are all gone.
        """
        return None if self._device is None else RECORDERS[self._device.type](self._device)

    def end(self) -> None:
        """Lets go of the recordings and their memory."""
        had = bool(self._recordings)
        self._forget()
        if had and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __call__(self, loss: TrainingLoss) -> LossFunction:
        """Returns the loss with its evaluations recorded, or the loss itself where they are not."""
        if self._recorder is None:
            return loss
        self._steps += 1
        description = _describe(loss)
        if description != self._description:
            if self._loss is not None and len(loss.batch.inputs) < len(self._loss.batch.inputs):
                return loss
            if not self._begin(loss, description):
                return loss
        assert self._loss is not None
        _load(self._loss.batch, loss.batch)
        return _CapturedLoss(loss, self)

    def _begin(self, loss: TrainingLoss, description: Hashable) -> bool:
        """Starts anew with buffers for this loss, unless that happens too often."""
        self._begun += 1
        if self._begun > 4 and self._steps < _FEWEST_STEPS * self._begun:
            return self._refuse("its parts change from step to step")
        self._recordings = {}
        self._description = description
        self._loss = loss.with_batch(_buffers(loss.batch))
        return True

    def replay(self, loss: TrainingLoss, evaluation: Evaluation, params: Params) -> Any:
        """Returns what ``evaluation(loss, params)`` does."""
        if self._recorder is None or self._loss is None:
            return evaluation(loss, params)
        try:
            return self._replayed(self._recorder, self._loss, evaluation, params)
        except CannotRecordError as error:
            why = str(error)
        except torch.OutOfMemoryError:
            why = _NO_MEMORY
        # Not while an exception is handled: its frames hold what the failed recording has allocated.
        self._refuse(why)
        return evaluation(loss, params)

    def _replayed(self, record: Recorder, loss: TrainingLoss, evaluation: Evaluation, params: Params) -> Any:
        key = evaluation, tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in params.items())
        if key in self._recordings and (result := self._recordings[key](params)) is not None:
            return result
        self._recordings.pop(key, None)
        self._recordings[key] = _Recording(record, evaluation, loss, params)
        if len(self._recordings) == self._begun == 1:
            rank_zero_info(f"loss and gradient of {len(loss.batch.inputs)} images are captured and replayed")
        if (result := self._recordings[key](params)) is None:
            raise CannotRecordError("the number of neurons to bound changes between evaluations")
        return result

    def _refuse(self, why: str) -> bool:
        self._forget()
        if self.capture is True:
            raise ConfigurationError(f"model.capture is true, but the loss cannot be captured: {why}; set it to auto")
        self._say_plain(why)
        return False

    def _say_plain(self, why: str) -> None:
        rank_zero_info(f"training steps are not captured: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return CapturedLosses, (self.capture,)


_FEWEST_STEPS = 20
"""Steps that recordings must last on average to be worth it."""


class _CapturedLoss:
    """A loss whose evaluations are replayed."""

    def __init__(self, loss: TrainingLoss, captured: CapturedLosses) -> None:
        self._loss = loss
        self._captured = captured

    def __call__(self, params: Params) -> tuple[Tensor, dict[str, Tensor]]:
        return self._loss(params)

    @property
    def members_at_once(self) -> int:
        return self._loss.members_at_once

    @property
    def noise_bytes(self) -> int:
        return self._loss.noise_bytes

    def replay(self, evaluation: Evaluation, params: Params) -> Any:
        return self._captured.replay(self._loss, evaluation, params)


class _Recording:
    """One evaluation, recorded with buffers for its parameters.

    A relaxation that bounds only some neurons does so for fixed numbers of them, found at these parameters.
    """

    def __init__(self, record: Recorder, evaluation: Evaluation, loss: TrainingLoss, params: Params) -> None:
        self._evaluation = evaluation
        self._loss = loss
        self._params = {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in params.items()}
        self._unchecked = 2
        with fixed_sizes({}) as buckets:
            # At other leaves: autograd binds a leaf to the stream of its first use, which must be the recording's.
            evaluation(loss, params)
        self._numbers = buckets.next_sizes()
        with holding_constants() as self._constants:
            self._packed, self._replay = record(self._evaluate)

    def _evaluate(self) -> list[Tensor]:
        """Evaluates the loss into one tensor for each type of number, the last of which says if numbers sufficed."""
        with fixed_sizes(self._numbers) as buckets:
            leaves, self._structure = of_torch.tree_flatten(self._evaluation(self._loss, self._params))
        self._shapes = [leaf.shape for leaf in leaves]
        self._types = [leaf.dtype for leaf in leaves]
        packed = [_joined(leaves, of_type) for of_type in dict.fromkeys(self._types)]
        return [*packed, buckets.overflow] if self._numbers else packed

    def __call__(self, params: Params) -> Any:
        """Replays the evaluation at other parameters; None where it bounds too few neurons for these."""
        of_torch.copy_to_all(self._params.values(), params.values())
        self._replay()
        if self._numbers and self._packed[-1]:
            return None
        parts = {packed.dtype: iter(packed.clone().split(self._sizes(packed.dtype))) for packed in self._results}
        leaves = [next(parts[of_type]).view(shape) for of_type, shape in zip(self._types, self._shapes, strict=True)]
        if self._unchecked:
            self._check(params, leaves)
        return of_torch.tree_unflatten(leaves, self._structure)

    @property
    def _results(self) -> list[Tensor]:
        return self._packed[:-1] if self._numbers else self._packed

    def _sizes(self, of_type: torch.dtype) -> list[int]:
        return [shape.numel() for shape, its in zip(self._shapes, self._types, strict=True) if its == of_type]

    def _check(self, params: Params, found: Sequence[Tensor]) -> None:
        """Compares a replay with the evaluation itself."""
        self._unchecked -= 1
        try:
            expected, _ = of_torch.tree_flatten(self._evaluation(self._loss, params))
        except torch.OutOfMemoryError as error:
            raise CannotRecordError(_NO_MEMORY) from error
        whole = torch.cat([right.detach().double().nan_to_num().flatten() for right in expected]).norm()
        for own, right in zip(found, expected, strict=True):
            tolerance = 1e-9 if right.dtype == torch.float64 else 1e-3  # sums on a GPU may have another order each time
            size = right.double().nan_to_num().norm() + 1e-3 * whole
            difference = (own.double().nan_to_num() - right.double().nan_to_num()).norm()
            if not (difference <= tolerance * size) & (own.isfinite() == right.isfinite()).all():
                raise CannotRecordError("a replay gave other numbers than the evaluation itself")


_NO_MEMORY = "no memory is left beside a recording; lower memory_budget"


def _joined(leaves: Sequence[Tensor], of_type: torch.dtype) -> Tensor:
    return torch.cat([leaf.detach().flatten() for leaf in leaves if leaf.dtype == of_type])


def _tensors(batch: Batch) -> list[Tensor]:
    progress = [batch.progress] if isinstance(batch.progress, Tensor) else []
    return [batch.inputs, batch.labels, batch.epsilon, *batch.starts, *batch.targets, *progress]


def _buffers(batch: Batch) -> Batch:
    """Makes a batch of buffers like a given one; while the radius is annealed its progress is one, too."""
    inputs, labels, epsilon = batch.inputs.clone(), batch.labels.clone(), batch.epsilon.clone()
    starts, targets = (tuple(tensor.clone() for tensor in group) for group in (batch.starts, batch.targets))
    progress = batch.progress if batch.at_target else inputs.new_zeros((), dtype=torch.float64)
    return Batch(inputs, labels, epsilon, starts, progress, targets=targets)


def _load(buffers: Batch, batch: Batch) -> None:
    if isinstance(buffers.progress, Tensor):
        buffers.progress.fill_(batch.progress)
    of_torch.copy_to_all(_tensors(buffers._replace(progress=1.0)), _tensors(batch))


def _describe(loss: TrainingLoss) -> Hashable:
    """Lists all that a recording of a loss depends on, other than what is copied into its buffers."""
    fixed = [(name, tensor.data_ptr()) for name, tensor in loss.tensors.items() if name not in loss.names]
    parts = loss.relaxation, loss.objective, *loss.regularizers
    tensors = [(tensor.shape, tensor.dtype) for tensor in _tensors(loss.batch)]
    of_parts = tuple(map(_options, parts))
    return id(loss.graph), TensorFloat32.current(), loss.batch.at_target, tuple(tensors), tuple(fixed), of_parts


def _options(part: Any, depth: int = 4) -> Hashable:
    """Lists an object's attributes: numbers and words by their values, what has no attributes by its identity."""
    if isinstance(part, int | float | str | None):
        return part
    if isinstance(part, list | tuple):
        return tuple(_options(entry, depth) for entry in part)
    if isinstance(part, dict):
        return tuple((key, _options(value, depth)) for key, value in part.items())
    opaque = isinstance(part, Tensor | nn.Module | type | FunctionType) or not hasattr(part, "__dict__")
    return id(part) if opaque or depth == 0 else (id(part), _options(vars(part), depth - 1))
