"""Questions to a device, on a machine that may have none."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gls_lightning.devices import memory_of, sent


def test_only_a_gpu_has_memory_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_of(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert memory_of(torch.device("cuda", 0)) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=7))
    assert memory_of(torch.device("cuda", 0)) == 7


def test_what_a_gpu_gets_is_sent_from_pinned_memory_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def pin(tensor: Tensor) -> Tensor:
        calls.append("pinned")
        return tensor

    def to(tensor: Tensor, *args: object, **options: object) -> Tensor:
        calls.append((args, options))
        return tensor

    value = torch.arange(3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", to)
    assert torch.equal(sent(value, "cuda"), value)
    assert calls == ["pinned", (("cuda",), {"non_blocking": True})]
    calls.clear()
    assert torch.equal(sent(value, "cpu"), value)
    assert calls == [(("cpu",), {})]
