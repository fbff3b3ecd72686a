from typing import Any

import pytest
import torch
from common.images import NoiseImages
from common.trainers import quiet_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS
from gls_lightning.relaxations import IBP


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(),
        nn.Linear(4, 2),
    )  # fmt: skip


def module() -> CertifiedTrainingModule:
    return CertifiedTrainingModule(network=network(), epsilon=0.1, relaxation=IBP(), estimator=RGS(sigma=0.1))


def test_running_statistics_are_those_of_the_mean_network() -> None:
    """With a batch as large as the data set they are what one forward pass in training mode computes."""
    trained = module()
    quiet_trainer(max_epochs=2).fit(trained, datamodule=NoiseImages(batch_size=10))
    reference = network()
    reference.load_state_dict(trained.network.state_dict())
    for layer in (reference[1], reference[5]):
        layer.momentum = 1.0
    with torch.no_grad():
        reference.train()(torch.cat([batch[0] for batch in NoiseImages(batch_size=10).train_dataloader()]))
    for index, count in ((1, 40), (5, 10)):
        torch.testing.assert_close(trained.network[index].running_mean, reference[index].running_mean)
        unbiased = trained.network[index].running_var * count / (count - 1)
        torch.testing.assert_close(unbiased, reference[index].running_var)


def test_batches_are_pooled_by_their_sizes() -> None:
    """Mean and variance of the first layer's outputs do not depend on how the data are cut into batches."""
    trained = module()
    quiet_trainer(max_epochs=1).fit(trained, datamodule=NoiseImages(batch_size=4))
    (images,) = (batch[0] for batch in NoiseImages(batch_size=10).train_dataloader())
    features = trained.network[0](images)
    torch.testing.assert_close(trained.network[1].running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(trained.network[1].running_var, features.var((0, 2, 3), correction=0))


def test_the_order_of_training_data_and_the_global_generator_are_not_disturbed() -> None:
    class Recording(CertifiedTrainingModule):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            orders.append(batch[1].tolist())

    def run(with_batch_norm: bool) -> tuple[list[list[int]], Tensor]:
        torch.manual_seed(1)
        net = network() if with_batch_norm else nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        recording = Recording(network=net, epsilon=0.1, relaxation=IBP())
        torch.manual_seed(2)
        data = TensorDataset(torch.rand(10, 1, 4, 4), torch.arange(10) % 2)
        quiet_trainer(max_epochs=3).fit(recording, DataLoader(data, batch_size=4, shuffle=True))
        return orders[-9:], torch.rand(1)

    orders: list[list[int]] = []
    with_reset, without = run(True), run(False)
    assert with_reset[0] == without[0]
    assert torch.equal(with_reset[1], without[1])


def test_needs_a_loader_that_it_can_copy() -> None:
    data = TensorDataset(torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))
    loader = DataLoader(data, batch_sampler=[[0, 1], [2, 3]])
    with pytest.raises(ConfigurationError, match="one DataLoader of indexed training data, with a batch_size"):
        quiet_trainer(max_epochs=1).fit(module(), loader)


def test_reads_no_more_than_an_epoch() -> None:
    trained = module()
    quiet_trainer(max_epochs=1, limit_train_batches=1).fit(trained, datamodule=NoiseImages(batch_size=4))
    (images,) = (batch[0] for batch in NoiseImages(batch_size=10).train_dataloader())
    features = trained.network[0](images).mean((0, 2, 3))
    assert not torch.allclose(trained.network[1].running_mean, features)


def test_statistics_are_reset_where_training_stops_within_an_epoch() -> None:
    whole, stopped = module(), module()
    for trained, options in ((whole, {"limit_train_batches": 2}), (stopped, {"max_steps": 2})):
        quiet_trainer(**options, max_epochs=1).fit(trained, datamodule=NoiseImages(batch_size=4))
    torch.testing.assert_close(stopped.network[0].weight, whole.network[0].weight)
    features = stopped.network[0](torch.cat([batch[0] for batch in NoiseImages(batch_size=10).train_dataloader()]))
    torch.testing.assert_close(stopped.network[1].running_mean, features.mean((0, 2, 3)))


def test_a_process_without_a_batch_does_not_keep_the_others_waiting() -> None:
    torch.set_num_threads(1)
    trained = module()
    ddp = quiet_trainer(max_epochs=1, strategy="ddp_fork", devices=2)
    ddp.fit(trained, datamodule=NoiseImages(batch_size=8, train_size=7))
    assert trained.network[1].running_mean.abs().min() > 0
