"""The paced progress bar, with a clock of the test's own."""

from types import SimpleNamespace

import pytest
from common.images import NoiseImages
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from torch import nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import PacedProgressBar, progress_bar
from gls_lightning.relaxations import IBP
from gls_lightning.trainer import GLSTrainer


class Images(NoiseImages):
    size = 24


def test_it_is_drawn_after_a_while_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, clock = [], iter(0.1 * step for step in range(1, 100))
    monkeypatch.setattr(progress_bar, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda self, *args: drawn.append(args[-1]))
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), epsilon=0.1, relaxation=IBP()
    )
    trainer = GLSTrainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(module, Images(batch_size=2))
    assert drawn == [2, 5, 8, 11]


def test_another_bar_stays_and_none_is_none() -> None:
    def bars(**options) -> list[type]:
        trainer = GLSTrainer(accelerator="cpu", logger=False, **options)
        return [type(callback) for callback in trainer.callbacks if "ProgressBar" in type(callback).__name__]

    assert bars() == [PacedProgressBar]
    assert bars(callbacks=TQDMProgressBar()) == [TQDMProgressBar]
    assert bars(enable_progress_bar=False) == []
    assert bars(barebones=True) == []
