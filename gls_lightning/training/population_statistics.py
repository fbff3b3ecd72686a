"""BatchNorm's statistics of the whole training set."""

from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from gls_lightning.batches import in_precision_of
from gls_lightning.errors import ConfigurationError
from gls_lightning.randomness import keyed_generator
from gls_lightning.training.network import BoundedNetwork
from gls_lightning.training.processes import process_sum


def set_population_statistics(trainer: Trainer, module: BoundedNetwork) -> None:
    """Sets BatchNorm's running statistics to those of the training set under the network's present weights."""
    statistics = _Pool(module.network)
    for number, read in enumerate(_training_batches(trainer, module.seed)):
        batch = trainer.strategy.batch_to_device(read)
        with module.evaluation(batch, number, "train", deferrable=True) as (inputs, _, _):
            inputs = in_precision_of(module.tensors().values(), inputs)
            statistics.add(module.graph.batch_statistics(module.tensors(), inputs), len(inputs))
    for name, value in statistics.pooled(trainer).items():
        module.network.get_buffer(name).copy_(value)


def indexed_training_loader(trainer: Trainer) -> DataLoader[Any]:
    """Returns the loader of the training data, which BatchNorm's statistics are computed from.

    Raises:
        ConfigurationError: It is not one DataLoader of indexed data.
    """
    loader = trainer.train_dataloader
    if not isinstance(loader, DataLoader) or loader.batch_size is None or isinstance(loader.dataset, IterableDataset):
        raise ConfigurationError("BatchNormReset needs one DataLoader of indexed training data, with a batch_size")
    return loader


def _training_batches(trainer: Trainer, seed: int) -> DataLoader[Any]:
    """This process's share of as many batches as an epoch has, in an order that depends on seed and epoch alone."""
    loader = indexed_training_loader(trainer)
    size = len(loader.dataset)  # type: ignore[arg-type]
    order = torch.randperm(size, generator=keyed_generator("batch norm", seed, trainer.current_epoch))
    batches = [batch.tolist() for batch in order.split(cast(int, loader.batch_size))]
    if len(batches) > 1 and len(batches[-1]) == 1:  # which has no variance
        batches[-2:] = [batches[-2] + batches[-1]]
    of_an_epoch = batches[: int(trainer.num_training_batches) * trainer.world_size]
    return DataLoader(
        loader.dataset,
        batch_sampler=of_an_epoch[trainer.global_rank :: trainer.world_size],
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        generator=torch.Generator(),  # without it the loader would draw from the global one
    )


class _Pool:
    """Sums of count, mean and mean of squares, by the names of the statistics."""

    def __init__(self, network: nn.Module) -> None:
        self.count = 0
        # Zeros on every process, also on one without data: all take part in the sums over processes.
        means = {name: b for name, b in network.named_buffers() if name.endswith("running_mean")}
        zeros = {name.removesuffix("running_mean"): torch.zeros_like(b).double() for name, b in means.items()}
        self.means: dict[str, Tensor] = dict(zeros)
        self.squares: dict[str, Tensor] = dict(zeros)

    def add(self, statistics: dict[str, Tensor], count: int) -> None:
        """Adds the statistics of a batch, whose names end in running_mean and running_var."""
        self.count += count
        for name, variance in statistics.items():
            if name.endswith("running_var"):
                layer = name.removesuffix("running_var")
                mean = statistics[layer + "running_mean"].double()
                self.means[layer] = self.means[layer] + count * mean
                self.squares[layer] = self.squares[layer] + count * (variance.double() + mean**2)

    def pooled(self, trainer: Trainer) -> dict[str, Tensor]:
        """Mean and variance over all processes."""
        result = {}
        for layer, mean in self.means.items():
            count = process_sum(trainer, torch.tensor(float(self.count), device=mean.device, dtype=mean.dtype))
            mean = process_sum(trainer, mean) / count
            result[layer + "running_mean"] = mean
            result[layer + "running_var"] = (process_sum(trainer, self.squares[layer]) / count - mean**2).clamp(min=0)
        return result
