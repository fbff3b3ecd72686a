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
from gls_lightning.schedules import Schedule, Smooth


def module_and_data() -> tuple[CertifiedTrainingModule, DataLoader[Any]]:
    """A module with radius 0.4, and two batches."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    module = CertifiedTrainingModule(network=network, epsilon=0.4, relaxation=IBP(), estimator=Backprop())
    return module, DataLoader(TensorDataset(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])), batch_size=2)


def test_counts_batches_and_not_optimizer_steps() -> None:
    radii = []

    class Recorder(EpsilonAnnealing):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            radii.append(pl_module.current_epsilon.item())  # type: ignore[union-attr, operator]

    module, data = module_and_data()
    callback = Recorder(start_epoch=1, end_epoch=3, shape="linear")
    quiet_trainer(max_epochs=4, accumulate_grad_batches=2, callbacks=[callback]).fit(module, data)
    assert radii == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.4])


class Recording(Certified):
    """Notes the share of the target radius of every loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def __call__(self, graph: Any, relaxation: Any, tensors: Any, batch: Any) -> Any:
        self.seen.append(batch.progress)
        return super().__call__(graph, relaxation, tensors, batch)


def shares(epsilon: float = 0.4, **options: Any) -> list[float]:
    """What objectives see at every step of four epochs of two batches."""
    module, data = module_and_data()
    module.objective, module.epsilon = Recording(), epsilon
    quiet_trainer(max_epochs=4, callbacks=[EpsilonAnnealing(**options)]).fit(module, data)
    return module.objective.seen


def test_objectives_see_the_exact_share_of_the_target() -> None:
    assert shares() == [1] * 8
    assert shares(end_epoch=3, shape="linear") == [step / 6 for step in range(6)] + [1, 1]
    assert shares(milestones=[1, 2], shape="step") == [0, 0, 0.5, 0.5, 1, 1, 1, 1]
    assert shares(epsilon=0.0, end_epoch=3) == [1] * 8  # a target of 0 is reached at once


def test_a_fit_that_fails_leaves_no_schedule() -> None:
    class Failing(EpsilonAnnealing):
        def on_train_batch_end(self, *args: Any) -> None:
            raise ConfigurationError("stop")

    module, data = module_and_data()
    with pytest.raises(ConfigurationError, match="stop"):
        quiet_trainer(max_epochs=1, callbacks=[Failing(end_epoch=1)]).fit(module, data)
    assert module.current_epsilon.item() == 0
    quiet_trainer(max_steps=1, max_epochs=1).fit(module, data)
    assert module.current_epsilon.item() == pytest.approx(0.4)


class Stream(IterableDataset[tuple[Tensor, int]]):
    """Four images, in a data set that does not say so."""

    def __iter__(self) -> Any:
        return iter([(torch.rand(1, 2, 2), k % 2) for k in range(4)])


def test_needs_to_know_the_batches_of_an_epoch() -> None:
    module, _ = module_and_data()
    data = DataLoader(Stream(), batch_size=2)
    with pytest.raises(ConfigurationError, match="epsilon_annealing needs a training data set with a length, or train"):
        quiet_trainer(max_epochs=2, callbacks=[EpsilonAnnealing(end_epoch=2)]).fit(module, data)
    told = quiet_trainer(max_epochs=2, limit_train_batches=2, callbacks=[EpsilonAnnealing(end_epoch=2)])
    told.fit(module, data)
    assert module.current_epsilon.item() == pytest.approx(0.4 * Smooth(0, 4).fraction(3))


def test_steps_behind_the_fit_are_named() -> None:
    module, data = module_and_data()
    message = r"epsilon_annealing has the milestones \[3\], but training ends with epoch 2 .*gets to 0.2 at most, 50.0%"
    with pytest.warns(UserWarning, match=message):
        quiet_trainer(max_epochs=2, callbacks=[EpsilonAnnealing(shape="step", milestones=[1, 3])]).fit(module, data)


class Half(Schedule):
    def fraction(self, step: int) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("callback", "expected"), [(None, 0.2), (EpsilonAnnealing(), 0.2), (EpsilonAnnealing(end_epoch=1), 0)]
)
def test_a_schedule_of_ones_own_holds_where_no_callback_sets_another(callback: Any, expected: float) -> None:
    module, data = module_and_data()
    module.epsilon_schedule = Half()
    quiet_trainer(max_steps=1, max_epochs=1, callbacks=[callback] if callback else []).fit(module, data)
    assert module.current_epsilon.item() == pytest.approx(expected)


def test_the_schedule_ends_with_the_fit() -> None:
    module, data = module_and_data()
    quiet_trainer(max_epochs=1, callbacks=[EpsilonAnnealing(end_epoch=1)]).fit(module, data)
    assert module.current_epsilon.item() == pytest.approx(0.4 * Smooth(0, 2).fraction(1))
    quiet_trainer(max_steps=1, max_epochs=1).fit(module, data)
    assert module.current_epsilon.item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_epoch": 3, "end_epoch": 2}, "start_epoch 3 and end_epoch 2"),
        ({"start_epoch": -1}, "start_epoch -1"),
        ({"shape": "step"}, r"milestones is \[\]; it must be epochs for the shape step"),
        ({"shape": "step", "milestones": [2], "end_epoch": 3}, "end_epoch is 3, but the shape is step"),
        ({"milestones": [2]}, r"milestones is \[2\], but the shape is smooth; milestones need the shape step"),
        ({"shape": "step", "milestones": [-1]}, r"milestones is \[-1\]; it must be epochs, counted from 0"),
        ({"shape": "cubic"}, "epsilon_annealing.shape is 'cubic'; it must be one of smooth, linear, cosine, step"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EpsilonAnnealing(**options)


def test_needs_a_module_with_a_radius() -> None:
    with pytest.raises(ConfigurationError, match="EpsilonAnnealing works with a CertifiedTrainingModule, not with L"):
        EpsilonAnnealing().on_fit_start(Trainer(accelerator="cpu", logger=False), LightningModule())
