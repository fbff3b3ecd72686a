from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import AlphaCROWN, AutoLiRPA, DeepPoly, HBox
from gls_lightning.relaxations.memory import (
    Coefficients,
    Parts,
    chunks_of_nodes,
    gibibytes,
    members_together,
    number_that_fits,
    parts_of_batch,
)

MIB = 2**20
"""Coefficients of 4 bytes, so 4 MiB; their backward pass takes twice as much."""


def test_the_gradients_count() -> None:
    assert number_that_fits(1.0, kept=MIB, element_size=4) == 128
    assert number_that_fits(1.0, kept=MIB, element_size=8) == 64
    assert number_that_fits(0.001, kept=MIB, element_size=4) == 0


@pytest.mark.parametrize(
    ("samples", "budget", "on_cpu", "in_chunks", "expected"),
    [
        (100, 1.0, False, False, Parts(100, False)),
        (200, 1.0, False, False, Parts(128, True)),
        (2, 0.001, False, False, Parts(1, True)),
        (200, 1.0, True, False, Parts(8, True)),  # 8 of the largest tensor are 32 MiB
        (200, 1.0, True, True, Parts(16, True)),  # 16 of the output's tensor, in 4 chunks of the largest, 16 MiB each
    ],
)
def test_parts_fit_the_budget_and_the_caches_of_a_cpu(
    samples: int, budget: float, on_cpu: bool, in_chunks: bool, expected: Parts
) -> None:
    coefficients = Coefficients(MIB, {"hidden": MIB, "output": MIB // 4})
    assert parts_of_batch(samples, coefficients, budget, 4, on_cpu=on_cpu, in_chunks=in_chunks) == expected


def test_chunks_are_as_large_as_the_caches() -> None:
    coefficients = Coefficients(MIB, {"hidden": MIB, "output": MIB // 4})
    assert chunks_of_nodes(16, coefficients, 4) == {"hidden": 4, "output": 1}
    assert chunks_of_nodes(17, coefficients, 4) == {"hidden": 5, "output": 2}


def test_large_members_are_evaluated_one_by_one_on_a_cpu() -> None:
    assert members_together(MIB, 1.0, 4, on_cpu=False) == 128
    assert members_together(MIB, 1.0, 4, on_cpu=True) == 4
    assert members_together(8 * MIB, 1.0, 4, on_cpu=True) == 1
    assert members_together(MIB, 0.001, 4, on_cpu=False) == 1


@pytest.fixture
def gpu_of_80_gib(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=80 * 2**30))
    return torch.device("cuda", 0)


def test_a_gpu_gives_a_fixed_share_of_its_memory(gpu_of_80_gib: torch.device) -> None:
    assert gibibytes("auto", gpu_of_80_gib) == pytest.approx(32)
    assert gibibytes("auto", torch.device("cpu")) == 4
    assert gibibytes(2.5, gpu_of_80_gib) == 2.5


def test_tensors_of_a_gpu_that_is_not_there_have_the_budget_of_a_cpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with FakeTensorMode():
        assert gibibytes("auto", torch.empty(3, device="cuda").device) == 4


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf"), "large", True, None])
def test_anything_else_is_no_budget(budget: object) -> None:
    with pytest.raises(ConfigurationError, match=f"memory_budget is {budget!r}; it must be positive, in GiB, or auto"):
        DeepPoly(memory_budget=budget)


def test_relaxations_take_what_the_device_has() -> None:
    assert {r.memory_budget for r in (DeepPoly(), HBox(), AlphaCROWN(), AutoLiRPA)} == {"auto"}
