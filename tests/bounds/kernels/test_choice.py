"""The choice between kernels and plain forms, on a machine without a card."""

import subprocess
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gls_lightning.bounds.kernels import absolute_dot, choice, relax, relaxed_product
from gls_lightning.bounds.kernels.banded_product import WHOLE
from gls_lightning.bounds.kernels.plain_forms import plain_absolute_dot, plain_relax, plain_relaxed_product

CPU = torch.device("cpu")


def plain_product(*inputs: Tensor, band: object, precision: str) -> tuple[Tensor, Tensor]:
    assert precision == "tf32"
    return plain_relaxed_product(*inputs, band=band)


RIGHT = SimpleNamespace(relax=plain_relax, absolute_dot=plain_absolute_dot, relaxed_product=plain_product)


class WrongGradient(torch.autograd.Function):
    """The right sums, and gradients that are a little too large."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, radius: Tensor) -> Tensor:
        return (rows.abs() * radius).sum(-1)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, Tensor]:
        rows, radius = ctx.saved_tensors  # type: ignore[attr-defined]
        of_sum = 1.001 * grad[..., None]
        return (of_sum * radius * rows.sign()).sum_to_size(rows.shape), (of_sum * rows.abs()).sum(-2, True).sum_to_size(
            radius.shape
        )


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for a card whose numbers lie on the CPU; it counts the checks."""
    state = SimpleNamespace(kernels=RIGHT, capturing=False, checks=0)

    def kernels() -> SimpleNamespace:
        state.checks += 1
        if isinstance(state.kernels, Exception):
            raise state.kernels
        return state.kernels

    monkeypatch.setattr(choice, "_kernels", kernels)
    monkeypatch.setattr(choice, "_found", {})
    monkeypatch.setattr(choice, "_device", lambda index: CPU)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: state.capturing)
    return state


class OnCard(SimpleNamespace):
    """The part of a tensor that a choice sees."""

    device, dtype = torch.device("cuda", 0), torch.float32


def test_kernels_are_used_once_they_were_compared(card: SimpleNamespace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("relax", "absolute_dot", "relaxed_product"):
            assert choice.kernels_for(name, OnCard()) is RIGHT
        checks = card.checks
        assert choice.kernels_for("relax", OnCard()) is RIGHT
        assert card.checks == checks
        assert choice.kernels_for("relaxed_product", OnCard(dtype=torch.float64)) is None
        assert choice.kernels_for("relax", OnCard(dtype=torch.float64)) is RIGHT
        assert choice.kernels_for("relax", OnCard(dtype=torch.bfloat16)) is None
        assert choice.kernels_for("relax", OnCard(device=CPU)) is None


def test_a_wrong_gradient_is_found_and_only_that_function_is_plain(card: SimpleNamespace) -> None:
    card.kernels = SimpleNamespace(**{**vars(RIGHT), "absolute_dot": WrongGradient.apply})
    with pytest.warns(UserWarning, match=r"float32 on cuda:0 \(absolute_dot: its values or gradients are not those"):
        assert choice.kernels_for("absolute_dot", OnCard()) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice.kernels_for("absolute_dot", OnCard()) is None
        assert choice.kernels_for("relax", OnCard()) is card.kernels


def test_rounding_errors_where_products_cancel_are_found() -> None:
    def fused(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        values, constant = plain_relax(rows, slope, narrowing, gap)
        return values + 1e-9 * rows, constant

    reason = choice.difference_from_plain_form("relax", SimpleNamespace(relax=fused), CPU, torch.float32)
    assert reason == "products that cancel are not 0"


@pytest.mark.parametrize("error", [ImportError("No module named 'triton'"), RuntimeError("ptxas failed\nat length")])
def test_what_cannot_be_used_is_said_once(card: SimpleNamespace, error: Exception) -> None:
    card.kernels = error
    reason = f"relax: {type(error).__name__}: {str(error).splitlines()[0]}; absolute_dot"
    with pytest.warns(UserWarning, match=reason):
        assert choice.kernels_for("relax", OnCard()) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice.kernels_for("absolute_dot", OnCard()) is None


def test_nothing_is_compared_while_a_graph_is_captured(card: SimpleNamespace) -> None:
    card.capturing = True
    assert choice.kernels_for("relax", OnCard()) is None
    assert not card.checks
    card.capturing = False
    choice.prepare(OnCard.device)
    card.capturing = True
    assert choice.kernels_for("relax", OnCard()) is RIGHT


def test_kernels_are_compared_apart_from_what_is_active(card: SimpleNamespace) -> None:
    """Inside a transform, in inference mode and without gradients."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.func.vmap(lambda x: choice.prepare(OnCard.device) and x)(torch.ones(2))
    assert choice.kernels_for("relax", OnCard()) is RIGHT


def test_stand_ins_for_tensors_take_the_plain_forms(card: SimpleNamespace) -> None:
    card.kernels = RuntimeError("not for tensors without numbers")
    with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, line = torch.randn(2, 3, 4, 5, device="cuda"), torch.randn(2, 1, 1, 5, device="cuda")
        values, constant = relax(rows, line, line, line)
        assert (values.device.type, values.shape, constant.shape) == ("cuda", (2, 3, 4, 5), (2, 3, 4))
        assert absolute_dot(rows, line).shape == (2, 3, 4)
        product, _ = relaxed_product(rows, line, line, line, torch.randn(5, 6, device="cuda"), WHOLE)
        assert product.shape == (2, 3, 4, 6)
    assert not card.checks


def test_a_cpu_imports_no_triton() -> None:
    program = (
        "import sys, torch\n"
        "from gls_lightning.bounds.kernels import absolute_dot, relax\n"
        "rows, line = torch.ones(2, 1, 3, 4, requires_grad=True), torch.ones(2, 1, 1, 4)\n"
        "(relax(rows, line, line, line)[0].sum() + absolute_dot(rows, line).sum()).backward()\n"
        "assert 'triton' not in sys.modules and torch.ones(()).is_cpu\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
