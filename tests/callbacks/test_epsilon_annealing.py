from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing
from gls_lightning.callbacks.epsilon_annealing import linear_ramp, smooth_ramp
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP


def published_ramp(step: int, start: int, end: int) -> float:
    """The schedule as the facts of the field state it, for a radius that rises from 0 to 1."""
    middle = int(0.25 * (end - start)) + start
    t = (middle - start) ** 3
    a = 1 / ((end - middle) * 4 * t + (middle - start) * t)
    if step < start:
        return 0.0
    if step <= middle:
        return a * (step - start) ** 4
    at_middle = a * (middle - start) ** 4
    return min(1.0, at_middle + (1 - at_middle) * (step - middle) / (end - middle))


@pytest.mark.parametrize(("start", "end"), [(0, 8), (0, 4700), (391, 31671), (5, 105)])
def test_smooth_ramp_is_the_published_one(start: int, end: int) -> None:
    steps = range(0, end + 10, max(1, end // 500))
    expected = [published_ramp(step, start, end) for step in steps]
    assert [smooth_ramp(step, start, end) for step in steps] == pytest.approx(expected, abs=1e-12)


def test_smooth_ramp_by_hand() -> None:
    """From 0 to 8 the middle is 2 and a = 1 / (6 * 4 * 8 + 2 * 8) = 1 / 208."""
    values = [smooth_ramp(step, 0, 8) for step in (0, 1, 2, 5, 8, 100)]
    assert values == pytest.approx([0, 1 / 208, 16 / 208, (16 / 208 + 1) / 2, 1, 1])


@pytest.mark.parametrize("ramp", [smooth_ramp, linear_ramp])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_short_ramps_rise_from_0_to_1(ramp: Any, length: int) -> None:
    values = [ramp(step, 3, 3 + length) for step in range(2, 5 + length)]
    assert values[:2] == [0, 0]
    assert values[-2:] == [1, 1]
    assert values == sorted(values)


def test_linear_ramp_by_hand() -> None:
    assert [linear_ramp(step, 2, 6) for step in range(8)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_counts_batches_and_not_optimizer_steps() -> None:
    radii = []

    class Recorder(EpsilonAnnealing):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            radii.append(pl_module.current_epsilon.item())  # type: ignore[union-attr, operator]

    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), epsilon=0.4, relaxation=IBP(), estimator=Backprop()
    )
    Trainer(
        accelerator="cpu",
        max_epochs=4,
        accumulate_grad_batches=2,
        callbacks=[Recorder(start_epoch=1, end_epoch=3, shape="linear")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(TensorDataset(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])), batch_size=2))
    assert radii == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_constant_by_default() -> None:
    assert EpsilonAnnealing().fraction(0, 100) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_epoch": 3, "end_epoch": 2}, "start_epoch 3 and end_epoch 2"),
        ({"start_epoch": -1}, "start_epoch -1"),
        ({"shape": "cubic"}, "shape is 'cubic'; it must be smooth or linear"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EpsilonAnnealing(**options)


def test_needs_a_module_with_a_radius() -> None:
    with pytest.raises(ConfigurationError, match="EpsilonAnnealing works with a CertifiedTrainingModule, not with L"):
        EpsilonAnnealing().on_fit_start(Trainer(accelerator="cpu", logger=False), LightningModule())
