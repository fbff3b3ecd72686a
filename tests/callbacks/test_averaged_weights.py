import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
from common.images import NoiseImages
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EMA, SWA
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP


class Images(NoiseImages):
    size = 12


class Recorder(Callback):
    """Keeps the network after every optimizer step, and as the other callbacks see it in each validation."""

    def __init__(self) -> None:
        self.trained: list[nn.Sequential] = []
        self.validated: list[nn.Sequential] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.trained.append(copy.deepcopy(cast(nn.Sequential, pl_module.network)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated.append(copy.deepcopy(cast(nn.Sequential, pl_module.network)))


def module() -> CertifiedTrainingModule:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    return CertifiedTrainingModule(
        network=network, epsilon=0.1, relaxation=IBP(), estimator=Backprop(),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.5),
    )  # fmt: skip


def fit(*callbacks: Callback, **options: Any) -> tuple[CertifiedTrainingModule, Trainer]:
    trained = module()
    trainer = quiet_trainer(callbacks=list(callbacks), **options)
    trainer.fit(trained, datamodule=Images(batch_size=4))
    return trained, trainer


def mean(networks: list[nn.Sequential]) -> dict[str, Tensor]:
    states = [dict(network.named_parameters()) for network in networks]
    return {name: torch.stack([state[name] for state in states]).mean(0).detach() for name in states[0]}


def moving_average(networks: list[nn.Sequential]) -> dict[str, Tensor]:
    first, *others = ({n: p.detach() for n, p in network.named_parameters()} for network in networks)
    for other in others:
        first = {name: 0.7 * p + 0.3 * other[name] for name, p in first.items()}
    return first


class Kind(NamedTuple):
    """A way of averaging, and what it gives."""

    callback: Callable[..., Callback]
    expected: Callable[[list[nn.Sequential]], dict[str, Tensor]]

    def assert_is_average(self, network: nn.Sequential, networks: list[nn.Sequential]) -> None:
        torch.testing.assert_close({n: p.detach() for n, p in network.named_parameters()}, self.expected(networks))


KINDS = {"SWA": Kind(SWA, mean), "EMA": Kind(partial(EMA, decay=0.7), moving_average)}
of_every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def assert_has_population_statistics(network: nn.Sequential) -> None:
    images = Images(batch_size=12)
    images.setup("fit")
    (inputs,) = (batch[0] for batch in images.train_dataloader())
    features = network[0](inputs)
    torch.testing.assert_close(network[1].running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(network[1].running_var, features.var((0, 2, 3), correction=0))


@pytest.mark.parametrize(("every_n_steps", "first"), [(1, 6), (2, 7), (3, 8)])
@of_every_kind
def test_is_the_average_of_the_last_networks(kind: Kind, every_n_steps: int, first: int) -> None:
    recorder = Recorder()  # 3 steps for each of 4 epochs
    trained, trainer = fit(recorder, kind.callback(start_epoch=2, every_n_steps=every_n_steps), max_epochs=4)
    averaged = recorder.trained[first::every_n_steps]
    kind.assert_is_average(cast(nn.Sequential, trained.network), averaged)
    assert_has_population_statistics(cast(nn.Sequential, trained.network))
    validated = copy.deepcopy(trained.network.state_dict())
    trainer.validate(trained, datamodule=Images(batch_size=4), verbose=False)
    torch.testing.assert_close(trained.network.state_dict(), validated, rtol=0, atol=0)


@of_every_kind
def test_validation_sees_the_average_once_there_is_one(kind: Kind) -> None:
    recorder = Recorder()
    fit(kind.callback(start_epoch=1, every_n_steps=1), recorder, max_epochs=3, num_sanity_val_steps=0)
    before, *after = recorder.validated
    torch.testing.assert_close(mean([before]), mean(recorder.trained[2:3]), rtol=0, atol=0)
    assert_has_population_statistics(before)
    for network, end in zip(after, (6, 9), strict=True):
        kind.assert_is_average(network, recorder.trained[3:end])
        assert_has_population_statistics(network)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@of_every_kind
def test_training_does_not_see_the_average(kind: Kind, precision: Any) -> None:
    averaged, plain = Recorder(), Recorder()
    trained, _ = fit(kind.callback(start_epoch=0, every_n_steps=1), averaged, max_epochs=3, precision=precision)
    fit(plain, max_epochs=3, precision=precision)
    kind.assert_is_average(cast(nn.Sequential, trained.network), averaged.trained)
    for with_average, without in zip(averaged.trained, plain.trained, strict=True):
        parameters = (dict(network.named_parameters()) for network in (with_average, without))
        torch.testing.assert_close(*parameters, rtol=0, atol=0)


@pytest.mark.parametrize("max_steps", [4, 5])
@of_every_kind
def test_a_fit_that_stops_within_an_epoch_ends_with_statistics_of_the_average(kind: Kind, max_steps: int) -> None:
    recorder = Recorder()
    trained, _ = fit(recorder, kind.callback(start_epoch=1, every_n_steps=1), max_steps=max_steps)
    kind.assert_is_average(cast(nn.Sequential, trained.network), recorder.trained[3:])
    assert_has_population_statistics(cast(nn.Sequential, trained.network))


@of_every_kind
def test_checkpoints_hold_both_networks(kind: Kind, tmp_path: Path) -> None:
    class Saving(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / "end.ckpt")

    recorder = Recorder()
    fit(kind.callback(start_epoch=1, every_n_steps=1), recorder, Saving(), max_epochs=2)

    assert "current_model_state" not in torch.load(tmp_path / "0.ckpt", weights_only=True)
    for name in ("1.ckpt", "end.ckpt"):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        loaded = module()
        loaded.load_state_dict(checkpoint["state_dict"])
        kind.assert_is_average(cast(nn.Sequential, loaded.network), recorder.trained[3:])
        assert_has_population_statistics(cast(nn.Sequential, loaded.network))
        loaded.load_state_dict(checkpoint["current_model_state"])
        kind.assert_is_average(cast(nn.Sequential, loaded.network), recorder.trained[-1:])


@of_every_kind
def test_a_callback_serves_another_fit(kind: Kind) -> None:
    callback = kind.callback(start_epoch=1, every_n_steps=1)
    fit(callback, max_epochs=2)
    recorder = Recorder()
    trained, _ = fit(callback, recorder, max_epochs=2)
    kind.assert_is_average(cast(nn.Sequential, trained.network), recorder.trained[3:])


@of_every_kind
@pytest.mark.parametrize(("batches", "precision"), [(2, "32-true"), (4, "32-true"), (6, "32-true"), (5, "64-true")])
def test_a_resumed_fit_has_both_networks(kind: Kind, batches: int, precision: Any, tmp_path: Path) -> None:
    class Saving(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            if trainer.global_step == batches:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    def averaging() -> Callback:
        return kind.callback(start_epoch=1, every_n_steps=1)

    whole, _ = fit(averaging(), Saving(), max_epochs=3, precision=precision)
    resumed = module()
    trainer = quiet_trainer(callbacks=[averaging()], max_epochs=3, precision=precision)
    trainer.fit(resumed, datamodule=Images(batch_size=4), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_decay_0_is_the_last_network() -> None:
    recorder = Recorder()
    trained, _ = fit(recorder, EMA(decay=0.0), max_epochs=2)
    torch.testing.assert_close(mean([cast(nn.Sequential, trained.network)]), mean(recorder.trained[-1:]))


def test_two_averages_of_one_fit_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="SWA and EMA both average the weights of this fit; choose one"):
        fit(SWA(start_epoch=1), EMA(), max_epochs=2)


def test_a_fit_without_an_average_says_so() -> None:
    with pytest.warns(UserWarning, match="SWA averaged nothing: training ended before epoch 1, or too soon"):
        fit(SWA(start_epoch=1, every_n_steps=10), max_epochs=2)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="start_epoch is -1"):
        SWA(start_epoch=-1)
    with pytest.raises(ConfigurationError, match="every_n_steps is 0"):
        SWA(start_epoch=1, every_n_steps=0)
    with pytest.raises(ConfigurationError, match=r"EMA\.start_epoch is -1"):
        EMA(start_epoch=-1)
    with pytest.raises(ConfigurationError, match=r"EMA\.decay is 1; it must be at least 0 and below 1"):
        EMA(decay=1)
    with pytest.raises(ConfigurationError, match="start_epoch 2, but training ends after 2 epochs"):
        fit(SWA(start_epoch=2), max_epochs=2)
