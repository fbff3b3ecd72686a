"""A check of the metrics that other callbacks and the learning rate schedule look at."""

from collections.abc import Collection, Iterator

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.optim import Optimizer

from gls_lightning.arguments import alternatives
from gls_lightning.errors import ConfigurationError

_KNOWN_SOURCES = ("gls_lightning", "lightning")
_OF_CALLBACKS = ("certification/", "landscape/", "statistics/")
"""Beginnings of metrics whose names depend on the options of the callbacks that log them."""


class MonitoredNames(Callback):
    """Refuses a monitored metric that nobody logs, before training and not after its first epoch.

    Args:
        known: The metrics that the module logs outside of training steps, whose metrics are checked after the first
            one; None for a module with steps of its own, of which only validation's are checked, after the sanity
            check.
    """

    def __init__(self, known: Collection[str] | None) -> None:
        self.known = known

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks all but the metrics of training steps."""
        if self.known is None or not _all_known(trainer):
            return
        logged = [name for name in self.known if trainer.enable_validation or not name.startswith("val/")]
        for key, name, unless_validated in _monitored(trainer):
            passed = unless_validated and name in self.known  # a checkpoint waits for a validation in vain
            if not passed and not name.startswith(("train/", *_OF_CALLBACKS)):
                _require(key, name, logged)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the metrics of validation in the sanity check."""
        if trainer.sanity_checking and _all_known(trainer):
            _require_all(trainer, "val/", trainer.callback_metrics)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Checks the metrics of training steps once the first one has been logged."""
        if trainer.global_step == 0 and self.known is not None and _all_known(trainer):
            _require_all(trainer, "train/", [*trainer.callback_metrics, *getattr(pl_module, "means", ())])


def _all_known(trainer: Trainer) -> bool:
    """Says whether no callback is another package's, which may log anything."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return all(type(callback).__module__.partition(".")[0] in _KNOWN_SOURCES for callback in callbacks)


def _monitored(trainer: Trainer) -> Iterator[tuple[str, str, bool]]:
    """Who looks at a metric, at which one, and if it does so only after a validation."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint | EarlyStopping) and callback.monitor not in (None, "epoch", "step"):
            yield f"{type(callback).__name__}.monitor", str(callback.monitor), isinstance(callback, ModelCheckpoint)
    for schedule in trainer.lr_scheduler_configs:
        if schedule.reduce_on_plateau and schedule.monitor is not None:
            yield f"{type(schedule.scheduler).__name__}.monitor", schedule.monitor, False


def _require_all(trainer: Trainer, beginning: str, logged: Collection[str]) -> None:
    """Refuses monitored metrics that begin so and are not logged."""
    for key, name, _ in _monitored(trainer):
        if name.startswith(beginning):
            _require(key, name, [name for name in logged if name.startswith(beginning)])


def _require(key: str, name: str, logged: Collection[str]) -> None:
    if name not in logged:
        raise ConfigurationError(f"{key} is {name}, which is not logged{alternatives(name, logged)}")
