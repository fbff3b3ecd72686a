"""Which classes configurations are offered."""

from lightning.pytorch import Callback, LightningModule

from gls_lightning import callbacks, training
from gls_lightning.command_line.components import components


def test_what_every_run_has_is_not_offered() -> None:
    offered = components(Callback)
    assert {"SWA", "EpsilonAnnealing", "BatchNormReset", "ModelCheckpoint"} <= offered.keys()
    assert not callbacks.INTERNAL & offered.keys()
    assert set(callbacks.__all__) > callbacks.INTERNAL


def test_what_a_training_module_is_made_of_is_not_offered() -> None:
    offered = components(LightningModule)
    assert "CertifiedTrainingModule" in offered
    assert not training.INTERNAL & offered.keys()
    assert set(training.__all__) > training.INTERNAL
