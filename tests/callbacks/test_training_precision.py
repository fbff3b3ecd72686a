"""The precision of products in training, and none but float32's in what is certified."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import PeriodicCertification
from gls_lightning.data import Digits
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import IBP
from gls_lightning.trainer import GLSTrainer


def settings() -> tuple[str, str, str]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
    )


class Seeing(IBP):
    """Notes the settings under which it bounds, and whether these are for a proof or for training."""

    def __init__(self) -> None:
        super().__init__()
        self.training: set[tuple[str, str, str]] = set()
        self.proofs: set[tuple[str, str, str]] = set()

    def __call__(self, graph: Any, tensors: Any, box: Any, specification: Tensor) -> Tensor:
        (self.training if torch.is_grad_enabled() else self.proofs).add(settings())
        return super().__call__(graph, tensors, box, specification)


class Failing(CertifiedTrainingModule):
    """Fails after the first step."""

    def on_train_batch_end(self, *args: Any) -> None:
        raise ZeroDivisionError


def fit(precision: str | None, kind: type[CertifiedTrainingModule] = CertifiedTrainingModule) -> Seeing:
    relaxation = Seeing()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    trainer = GLSTrainer(
        float32_matmul_precision=precision,
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PeriodicCertification(samples=2, every_n_epochs=1)],
    )
    trainer.fit(kind(network=network, epsilon=0.01, relaxation=relaxation), datamodule=Digits(batch_size=8))
    return relaxation


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (None, None),
        ("highest", ("highest", "ieee", "ieee")),
        ("high", ("high", "tf32", "tf32")),
    ],
)
def test_training_has_it_and_proofs_have_not(precision: str | None, expected: tuple[str, str, str] | None) -> None:
    before = settings()
    seen = fit(precision)
    assert seen.training == {expected or before}
    assert seen.proofs == {("highest", "ieee", "ieee")}
    assert settings() == before


def test_it_ends_with_a_fit_that_fails() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError):
        fit("high", Failing)
    assert settings() == before


@pytest.mark.parametrize("value", ["HIGH", "tf32", 1, True])
def test_other_words_are_refused(value: object) -> None:
    with pytest.raises(
        ConfigurationError,
        match=f"trainer.float32_matmul_precision is {value!r}; it must be one of highest, high, or null",
    ):
        GLSTrainer(float32_matmul_precision=value)
