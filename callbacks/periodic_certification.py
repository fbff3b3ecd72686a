"""Certification of a few images during training."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from gls_lightning.callbacks.certified_module import ACCURACIES, certified_module
from gls_lightning.callbacks.process_sum import process_sum
from gls_lightning.certification import Certifier, Record, summarise
from gls_lightning.errors import ConfigurationError


class PeriodicCertification(Callback):
    """Certifies the first validation images at the target radius, every few epochs.

    Logs ``certification/natural_accuracy``, ``certification/certified_accuracy`` and
    ``certification/adversarial_accuracy``, for ModelCheckpoint, W&B and sweeps. Between two certifications Lightning
    keeps the last values, so a ModelCheckpoint that monitors them needs the same ``every_n_epochs``.

    Args:
        samples: How many images.
        every_n_epochs: Certifies after every so many epochs.
        certifier: What proves the robustness. By default an attack, then IBP, CROWN-IBP and DeepPoly.

    Raises:
        ConfigurationError: A number below 1.
    """

    def __init__(self, *, samples: int = 500, every_n_epochs: int = 1, certifier: Certifier | None = None) -> None:
        for name, value in (("samples", samples), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise ConfigurationError(f"PeriodicCertification.{name} is {value}; it must be at least 1")
        self.samples = samples
        self.every_n_epochs = every_n_epochs
        self.certifier = certifier or Certifier()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Certifies and logs."""
        if not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            with torch.inference_mode(False):
                records = self._certify(trainer, pl_module)
            for name, value in _accuracies(trainer, records).items():
                pl_module.log(f"certification/{name}", value)

    def _certify(self, trainer: Trainer, pl_module: LightningModule) -> list[Record]:
        """The records of this process's share of the images."""
        module = certified_module(self, pl_module)
        loader = trainer.val_dataloaders
        if not isinstance(loader, DataLoader):
            raise ConfigurationError("PeriodicCertification needs one DataLoader of validation data")
        chosen = range(min(self.samples, len(loader.dataset)))[trainer.global_rank :: trainer.world_size]  # type: ignore[arg-type]
        batches = [list(chosen[start : start + 256]) for start in range(0, len(chosen), 256)]
        reader = DataLoader(
            loader.dataset, batch_sampler=batches, collate_fn=loader.collate_fn, generator=torch.Generator()
        )
        records = []
        for batch, positions in zip(reader, batches, strict=True):
            inputs, labels, *rest = (tensor.to(pl_module.device) for tensor in batch)
            indices = rest[0] if rest else torch.tensor(positions, device=labels.device)
            records += self.certifier.certify(module.graph, module.tensors(), inputs, labels, indices, module.epsilon)
        return records


def _accuracies(trainer: Trainer, records: list[Record]) -> dict[str, Tensor]:
    """Accuracies over the records of all processes, some of which may have none."""
    summary = summarise(records) if records else None
    counts = [summary.samples * getattr(summary, name) for name in ACCURACIES] if summary else [0.0] * len(ACCURACIES)
    total = process_sum(trainer, torch.tensor([*counts, len(records)], device=trainer.strategy.root_device))
    return dict(zip(ACCURACIES, total[:-1] / total[-1], strict=True))
