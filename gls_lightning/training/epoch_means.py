"""Means over the samples of an epoch, of all processes, also of an epoch that was interrupted."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from gls_lightning.training.processes import process_sum


class _Totals:
    """Sums over samples since the epoch began: one tensor for all values that are logged together."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], Tensor] = {}
        self.samples: dict[str, float] = {}

    def begin(self, names: tuple[str, ...], begun: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> None:
        """Starts sums, at what is known of the epoch from before the fit was resumed."""
        for name in names:
            self.samples.setdefault(name, 0)
            if name in begun:
                self.samples[name] += begun[name]["weight"].item()
        if begun:
            zero = {"mean_value": torch.zeros(())}
            self.sums[names] = torch.stack([begun.get(name, zero)["mean_value"].to(device) for name in names])

    def add(self, names: tuple[str, ...], sums: Tensor, samples: float) -> None:
        """Adds the sums of a batch."""
        before = self.sums.get(names)
        self.sums[names] = sums if before is None else before + sums
        for name in names:
            self.samples[name] += samples

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        """Returns sum and number of samples of this process."""
        parts = [sums[names.index(name)] for names, sums in self.sums.items() if name in names]
        total = torch.stack(parts).sum()
        return total, torch.full_like(total, self.samples[name])

    def drop(self, name: str) -> None:
        """Forgets a value, and those that are logged with it: they end together."""
        for names in [names for names in self.sums if name in names]:
            del self.sums[names]
            for other in names:
                self.samples.pop(other, None)
        self.samples.pop(name, None)


class _EpochMean(MeanMetric):
    """A mean as Lightning takes it: once per epoch it is told of it, and computes it at the end."""

    def __init__(self, name: str, totals: _Totals) -> None:
        super().__init__()
        self._name, self._totals = name, totals

    def sync(self, *args: Any, **options: Any) -> None:
        """Takes what was gathered, then sums over the processes; called before the mean is computed."""
        self.mean_value, self.weight = self._totals.of(self._name)
        super().sync(*args, **options)

    @torch.inference_mode(False)  # Lightning resets it in inference mode after ``validate``, for a later ``fit``
    def reset(self) -> None:
        super().reset()
        self._totals.drop(self._name)


class EpochMeans(nn.ModuleDict):
    """The means that a module logs, by name; the module's attribute ``means``.

    A step only adds one tensor to another: nothing is read from a device before the epoch ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._totals = _Totals()
        self._begun: dict[str, dict[str, Tensor]] = {}

    def add(
        self,
        module: LightningModule,
        values: Mapping[str, Tensor | float],
        samples: int,
        *,
        prog_bar: Collection[str] = (),
    ) -> None:
        """Adds a batch; Lightning logs the means at the end of the epoch.

        Args:
            module: The module, in whose name they are logged.
            values: Values by name: all of them 0-dim means over the samples, or all with one element for each sample.
            samples: Number of samples.
            prog_bar: The names that the progress bar shows.
        """
        names = tuple(values)
        if not names:
            return
        if names not in self._totals.sums:
            self._begin(module, names, prog_bar)
        parts = [torch.as_tensor(value, device=module.device) for value in values.values()]
        sums = torch.stack([v.sum() for v in parts]) if parts[0].dim() else torch.stack(parts) * samples
        self._totals.add(names, sums.detach().to(torch.promote_types(sums.dtype, torch.float32)), samples)

    def _begin(self, module: LightningModule, names: tuple[str, ...], prog_bar: Collection[str]) -> None:
        """Lets Lightning know of the means of an epoch."""
        new = [name for name in names if name not in self._totals.samples]
        trainer = module.trainer
        begun = {n: self._begun.pop(n) for n in new if n in self._begun} if trainer.ckpt_path else {}
        self._totals.begin(names, begun if trainer.is_global_zero else {}, module.device)
        for name in new:
            if name not in self:
                self[name] = _EpochMean(name, self._totals).to(module.device)
            mean = self[name]
            assert isinstance(mean, MeanMetric)
            mean.update(0.0, 0.0)  # it refuses to compute otherwise; what it holds is replaced
            # The attribute is named because Lightning looks for metrics only once, before this one is there.
            module.log(
                name, mean, on_step=False, on_epoch=True, prog_bar=name in prog_bar, metric_attribute=f"means.{name}"
            )

    def start(self) -> None:
        """Forgets what a fit that was broken off has left."""
        for mean in self.values():
            assert isinstance(mean, MeanMetric)
            mean.reset()

    @property
    def of_training(self) -> list[str]:
        """The names of the means over training batches."""
        return [name for name in self._totals.samples if name.startswith("train/")]

    def begun(self, trainer: Trainer) -> dict[str, dict[str, Tensor]]:
        """Returns the state of the training's means over all processes, for a run that goes on within an epoch."""
        return {
            name: {
                part: process_sum(trainer, value.clone())
                for part, value in zip(("mean_value", "weight"), self._totals.of(name), strict=True)
            }
            for name in self.of_training
        }

    def go_on(self, begun: dict[str, dict[str, Tensor]]) -> None:
        """Takes what :meth:`begun` gave."""
        self._begun = begun
