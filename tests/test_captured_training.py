"""Whole fits with captured steps against the same fits without: a tape of operations stands in for a CUDA graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common.images import NoiseImages
from common.tape import TapeRecorder
from common.trainers import quiet_trainer
from lightning.pytorch import Callback
from torch import Tensor, nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.attacks import PGD
from gls_lightning.callbacks import EMA, SWA, EpsilonAnnealing, SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop
from gls_lightning.objectives import MTLIBP, ShiRegularizer
from gls_lightning.recorder import RECORDERS
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly


class Images(NoiseImages):
    input_shape = (1, 6, 6)
    size = 22


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 6), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(6, 2))


class Metrics(Callback):
    """Keeps what each epoch logged."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append(dict(trainer.callback_metrics))


def fit(capture: Any, options: dict[str, Any], of_trainer: dict[str, Any], **of_fit: Any) -> tuple[Any, list[Any]]:
    module = CertifiedTrainingModule(network=network(), epsilon=0.1, capture=capture, **options)
    metrics, callbacks = Metrics(), [make() for make in of_trainer.pop("callbacks", [])]
    trainer = quiet_trainer(**{"max_epochs": 3, "callbacks": [*callbacks, metrics], **of_trainer})
    trainer.fit(module, Images(batch_size=4), **of_fit)
    return module, metrics.epochs


def annealing() -> Callback:
    return EpsilonAnnealing(end_epoch=2)


CASES: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "GRAD, annealed": (
        lambda: {"relaxation": IBP(), "estimator": Backprop(), "regularizer": ShiRegularizer(), "l1": 1e-4},
        {"callbacks": [annealing]},
    ),
    "RGS, clipped, SWA, sigma falls": (
        lambda: {"relaxation": DeepPoly(), "estimator": RGS(sigma=0.01)},
        {
            "callbacks": [lambda: SigmaDecay(milestones=[1], factor=0.5), lambda: SWA(start_epoch=1)],
            "gradient_clip_val": 0.1,
        },
    ),
    "PGPE, accumulated, EMA": (
        lambda: {"relaxation": CROWNIBP(), "estimator": PGPE(population_size=4)},
        {"accumulate_grad_batches": 2, "callbacks": [lambda: EMA(decay=0.5)]},
    ),
    "SAM, float64": (lambda: {"relaxation": DeepPoly(), "estimator": SAM()}, {"precision": "64-true"}),
    "MTL-IBP, mixed precision": (
        lambda: {"relaxation": IBP(), "estimator": Backprop(), "objective": MTLIBP(alpha=0.5, attack=PGD(steps=2))},
        {"precision": "bf16-mixed"},
    ),
}


def equal(first: Any, second: Any) -> bool:
    (module, metrics), (other, others) = first, second
    weights = [
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    ]
    return all(weights) and metrics == others


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_the_same_to_the_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, of_trainer = CASES[case]
    plain = fit("auto", make(), dict(of_trainer))
    tape = TapeRecorder()
    monkeypatch.setitem(RECORDERS, "cpu", lambda device: tape)
    assert equal(plain, fit(True, make(), dict(of_trainer)))
    assert tape.replayed >= 3 * 5  # five full batches an epoch; the sixth is smaller


def test_a_run_that_was_captured_goes_on_without_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"relaxation": CROWNIBP(), "estimator": RGS(sigma=0.01)}
    whole = fit("auto", options, {})
    for first, then in ((True, "auto"), ("auto", True)):
        for capture, of_trainer, of_fit in (
            (first, {"max_steps": 8, "max_epochs": -1}, {}),  # within the second epoch
            (then, {}, {"ckpt_path": str(tmp_path / f"{first}.ckpt"), "weights_only": False}),
        ):
            with monkeypatch.context() as patched:
                if capture is True:
                    patched.setitem(RECORDERS, "cpu", TapeRecorder)
                module, _ = fit(capture, {**options, "estimator": RGS(sigma=0.01)}, of_trainer, **of_fit)
                module.trainer.save_checkpoint(tmp_path / f"{first}.ckpt")
        assert equal((whole[0], None), (module, None))


def test_a_forced_capture_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="capture is true, but the training runs on cpu"):
        fit(True, {"relaxation": IBP()}, {})


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    module, _ = fit(True, {"relaxation": IBP()}, {})
    assert not module._captured._recordings
    assert not module.deferred_values._recordings
    assert module.deferred_values._record is None
