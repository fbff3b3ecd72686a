from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.objectives import Certified
from gls_lightning.relaxations import IBP


class Recording(Certified):
    """Notes the radius, and its share of the target, of every loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def __call__(self, graph: Any, relaxation: Any, tensors: Any, batch: Any) -> Any:
        self.seen.append((batch.epsilon.item(), batch.progress))
        return super().__call__(graph, relaxation, tensors, batch)


def module(objective: Certified, epsilon: float = 0.4) -> CertifiedTrainingModule:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    return CertifiedTrainingModule(
        network=network, epsilon=epsilon, relaxation=IBP(), estimator=Backprop(), objective=objective
    )


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])), batch_size=2)


def seen(callback: EpsilonAnnealing, epsilon: float = 0.4, **options: Any) -> list[tuple[float, float]]:
    """Radius and progress at every step of four epochs of two batches."""
    objective = Recording()
    trained = module(objective, epsilon)
    quiet_trainer(max_epochs=4, callbacks=[callback], **options).fit(trained, loader())
    assert trained.schedules == {}
    return objective.seen


def test_counts_batches_and_not_optimizer_steps() -> None:
    found = seen(EpsilonAnnealing(start_epoch=1, end_epoch=3, shape="linear"), accumulate_grad_batches=2)
    shares = [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [radius for radius, _ in found] == pytest.approx([0.4 * share for share in shares])
    assert [share for _, share in found] == shares  # exactly


@pytest.mark.parametrize(
    ("callback", "shares"),
    [
        (EpsilonAnnealing(), [1] * 8),
        (EpsilonAnnealing(end_epoch=3, shape="cosine"), [0, 0.0669873, 0.25, 0.5, 0.75, 0.9330127, 1, 1]),
        (EpsilonAnnealing(shape="step", milestones=[1, 2]), [0, 0, 0.5, 0.5, 1, 1, 1, 1]),
    ],
)
def test_shapes(callback: EpsilonAnnealing, shares: list[float]) -> None:
    assert [share for _, share in seen(callback)] == pytest.approx(shares)


def test_a_target_of_0_is_reached_at_once() -> None:
    assert seen(EpsilonAnnealing(end_epoch=3), epsilon=0.0) == [(0.0, 1.0)] * 8


@pytest.mark.parametrize("fails", [False, True])
def test_a_later_fit_does_not_follow_the_schedule(fails: bool) -> None:
    class Failing(EpsilonAnnealing):
        def on_train_batch_end(self, *args: Any) -> None:
            raise ConfigurationError("stop")

    objective = Recording()
    trained = module(objective)
    if fails:
        with pytest.raises(ConfigurationError, match="stop"):
            quiet_trainer(callbacks=[Failing(end_epoch=100)]).fit(trained, loader())
    else:
        quiet_trainer(max_epochs=1, callbacks=[EpsilonAnnealing(end_epoch=100)]).fit(trained, loader())
    assert objective.seen[0] == (0.0, 0.0)
    objective.seen.clear()
    quiet_trainer(max_epochs=1).fit(trained, loader())
    assert objective.seen == [(pytest.approx(0.4), 1.0)] * 2


class Stream(IterableDataset[tuple[Tensor, int]]):
    """Four images, in a data set that does not say so."""

    def __iter__(self) -> Any:
        return iter([(torch.rand(1, 2, 2), k % 2) for k in range(4)])


def test_needs_to_know_the_batches_of_an_epoch() -> None:
    data = DataLoader(Stream(), batch_size=2)
    with pytest.raises(ConfigurationError, match="epsilon_annealing needs a training data set with a length, or tr"):
        quiet_trainer(callbacks=[EpsilonAnnealing(end_epoch=1)]).fit(module(Recording()), data)
    told = Recording()
    runner = quiet_trainer(max_epochs=2, limit_train_batches=2, callbacks=[EpsilonAnnealing(end_epoch=1)])
    runner.fit(module(told), data)
    assert [share for _, share in told.seen][2:] == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_epoch": 3, "end_epoch": 2}, "start_epoch 3 and end_epoch 2"),
        ({"start_epoch": -1}, "start_epoch -1"),
        ({"shape": "cubic"}, "shape is 'cubic'; it must be smooth, linear, cosine or step"),
        ({"shape": "step"}, r"epsilon_annealing.milestones is \[\]; it must be a list of epochs"),
        ({"milestones": [1]}, r"epsilon_annealing.milestones is \[1\]; it must be \[\] where shape is smooth"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EpsilonAnnealing(**options)


def test_needs_a_module_with_a_radius() -> None:
    with pytest.raises(ConfigurationError, match="EpsilonAnnealing works with a CertifiedTrainingModule, not with L"):
        EpsilonAnnealing().on_fit_start(Trainer(accelerator="cpu", logger=False), LightningModule())
