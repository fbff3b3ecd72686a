"""Settings of PyTorch that decide how float32 numbers are multiplied."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gls_lightning.certification import float32_precision, without_tf32

BACKENDS: dict[str, Any] = {
    "matmul": torch.backends.cuda.matmul,
    "conv": torch.backends.cudnn.conv,
    "cpu_matmul": torch.backends.mkldnn.matmul,
    "cpu_conv": torch.backends.mkldnn.conv,
}


def settings() -> dict[str, str]:
    return {name: backend.fp32_precision for name, backend in BACKENDS.items()}


def older() -> str | None:
    """The older setting; None where PyTorch refuses to read it beside the newer ones."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def choose(name: str) -> None:
    """Settings as users make them."""
    if name in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(name)
    elif name == "older words":
        torch.backends.cuda.matmul.allow_tf32 = True
    elif name == "newer words":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
    elif name == "no TF32 in convolutions":
        torch.backends.cudnn.conv.fp32_precision = "ieee"


CHOICES = ("none", "highest", "high", "medium", "older words", "newer words", "no TF32 in convolutions")


@pytest.fixture(params=CHOICES)
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    before = settings()
    choose(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")
    for name, value in before.items():
        BACKENDS[name].fp32_precision = value


def test_nothing_is_rounded_inside_and_all_settings_are_restored(chosen: str) -> None:
    before = settings(), older()
    with without_tf32():
        assert set(settings().values()) == {"ieee"}
        assert older() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
    assert (settings(), older()) == before
    with pytest.raises(ZeroDivisionError), without_tf32():
        _ = 1 / 0
    assert (settings(), older()) == before
    if chosen == "newer words":
        assert older() is None, "the test is to cover settings that PyTorch refuses to read"


def test_certification_within_training(chosen: str) -> None:
    before = settings(), older()
    with float32_precision("high"):
        assert settings()["matmul"] == settings()["conv"] == "tf32"
        assert older() == "high"
        with without_tf32():
            assert set(settings().values()) == {"ieee"}
        assert settings()["matmul"] == settings()["conv"] == "tf32"
        assert older() == "high"
    assert (settings(), older()) == before


@pytest.mark.parametrize(("precision", "expected"), [("highest", "ieee"), ("high", "tf32")])
def test_products_and_convolutions_go_together(precision: str, expected: str) -> None:
    with float32_precision(precision):
        assert (settings()["matmul"], settings()["conv"], older()) == (expected, expected, precision)
