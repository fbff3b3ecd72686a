"""Certification of a few images during training."""

import time
from math import inf

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gls_lightning.arguments import component, require
from gls_lightning.certification import Certifier, Record, Verdict, summarise
from gls_lightning.run_files import ACCURACY_METRICS
from gls_lightning.training import ValidationImages, bounded_network, process_sum


class PeriodicCertification(Callback):
    """Certifies the first validation images at the target radius, every few epochs.

    Logs ``natural_accuracy``, ``certified_accuracy``, ``adversarial_accuracy``, ``unknown`` (the fraction that the
    certifier could not decide) and ``samples`` (of how many images) under ``certification/``, for ModelCheckpoint, W&B
    and sweeps. Between two certifications Lightning keeps the last values, so a ModelCheckpoint that monitors them
    needs the same ``every_n_epochs``.

    Args:
        samples: How many images.
        every_n_epochs: Certifies after every so many epochs.
        certifier: What proves the robustness. By default an attack, then IBP, CROWN-IBP and DeepPoly.
        time_budget: Seconds after which no further batch of the certifier starts; what was certified counts then, and
            how much that is depends on the machine. By default all images are certified.

    Raises:
        ConfigurationError: A number below 1, or a time budget that is not positive.
    """

    def __init__(
        self,
        *,
        samples: int = 500,
        every_n_epochs: int = 1,
        certifier: Certifier | None = None,
        time_budget: float | None = None,
    ) -> None:
        for name, value in (("samples", samples), ("every_n_epochs", every_n_epochs)):
            require(value >= 1, f"PeriodicCertification.{name}", value, "at least 1")
        require(time_budget is None or time_budget > 0, "PeriodicCertification.time_budget", time_budget, "positive")
        self.samples = samples
        self.every_n_epochs = every_n_epochs
        self.certifier = component("certifier", certifier, Certifier) or Certifier()
        self.time_budget = inf if time_budget is None else time_budget

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Certifies and logs."""
        if not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            with torch.inference_mode(False):
                records = self._certify(trainer, pl_module)
            for name, value in _measured(trainer, records).items():
                pl_module.log(f"certification/{name}", value)

    def _certify(self, trainer: Trainer, pl_module: LightningModule) -> list[Record]:
        """Returns the records of this process's share of the images, as far as its time allows."""
        started = time.monotonic()
        module = bounded_network(self, pl_module)
        images = ValidationImages(self, trainer)
        chosen = list(range(min(self.samples, len(images))))[trainer.global_rank :: trainer.world_size]
        size = self.certifier.batch_size
        records: list[Record] = []
        for batch in images.batches([chosen[start : start + size] for start in range(0, len(chosen), size)]):
            if records and time.monotonic() - started > self.time_budget:
                break
            records += self.certifier.decide(module.graph, module.tensors(), *batch, module.epsilon)
        return records


def _measured(trainer: Trainer, records: list[Record]) -> dict[str, Tensor]:
    """Returns the values to log, over the records of all processes; some may have none."""
    names = (*ACCURACY_METRICS, "unknown")
    counts = [0.0] * len(names)
    if records:
        summary = summarise(records)
        counts = [len(records) * getattr(summary, name) for name in ACCURACY_METRICS]
        counts.append(summary.verdicts[Verdict.UNKNOWN].samples)
    total = process_sum(trainer, torch.tensor([*counts, len(records)], device=trainer.strategy.root_device))
    return {**dict(zip(names, total[:-1] / total[-1], strict=True)), "samples": total[-1]}
