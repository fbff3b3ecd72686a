"""Fused steps: the CPU has them too."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from gls_lightning import CertifiedTrainingModule
from gls_lightning.training._fused_steps import choose, fuse

MOMENTUM = partial(SGD, lr=0.1, momentum=0.9, nesterov=True)
OPTIMIZERS = [partial(Adam, lr=0.1), partial(Adam, lr=0.1, amsgrad=True), partial(AdamW, lr=0.1), MOMENTUM]


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def steps(net: nn.Linear, optimizer: Optimizer, number: int = 3) -> None:
    for step in range(number):
        optimizer.zero_grad()
        net(torch.full((4, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts calls of the fused forms."""
    calls: list[str] = []
    for name in ("_fused_adam_", "_fused_adamw_", "_fused_sgd_"):
        whole = getattr(torch, name)

        def counting(*args: Any, name: str = name, whole: Any = whole, **options: Any) -> None:
            calls.append(name)
            whole(*args, **options)

        monkeypatch.setattr(torch, name, counting)
    return calls


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("saved_fused", [False, True])
@pytest.mark.parametrize("loaded_fused", [False, True])
def test_a_state_is_loaded_into_either_form(
    make: Any, saved_fused: bool, loaded_fused: bool, fused_calls: list[str]
) -> None:
    whole = network()
    steps(whole, make(whole.parameters()), 3)

    first = network()
    optimizer = make(first.parameters())
    choose(optimizer, fused=saved_fused)
    steps(first, optimizer, 2)
    assert len(fused_calls) == (2 if saved_fused else 0)
    fused_calls.clear()

    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    resumed = make(second.parameters())
    choose(resumed, fused=loaded_fused)
    resumed.load_state_dict(optimizer.state_dict())
    assert [group["fused"] for group in resumed.param_groups] == [loaded_fused or None]
    resumed.zero_grad()
    second(torch.full((4, 3), 3.0)).square().sum().backward()
    resumed.step()
    assert len(fused_calls) == (1 if loaded_fused else 0)
    torch.testing.assert_close(second.state_dict(), whole.state_dict())
    if not saved_fused and not loaded_fused:
        assert all(torch.equal(value, whole.state_dict()[name]) for name, value in second.state_dict().items())


def test_the_count_of_steps_lies_where_the_form_needs_it() -> None:
    """With parameters on a device without data: PyTorch itself leaves the count of a loaded state on the CPU."""
    net = network()
    optimizer = Adam(net.parameters())
    choose(optimizer, fused=True)
    steps(net, optimizer)
    state = optimizer.state_dict()
    plain = {**state, "param_groups": [{**state["param_groups"][0], "fused": None}]}
    for of_checkpoint, fused, device in ((state, True, "meta"), (plain, True, "meta"), (plain, False, "cpu")):
        there = Adam(nn.Linear(3, 2, device="meta").parameters())
        choose(there, fused=fused)
        there.load_state_dict(of_checkpoint)
        assert {entry["step"].device.type for entry in there.state.values()} == {device}
        assert {entry["exp_avg"].device.type for entry in there.state.values()} == {"meta"}


class OnGPU(nn.Parameter):
    """Says that it lies on a GPU."""

    is_cuda = True


class Derived(Adam):
    """A class of its own."""


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_gpu_takes_fused_steps(make: Any) -> None:
    optimizer = make([OnGPU(torch.ones(2))])
    fuse(optimizer)
    assert optimizer.param_groups[0]["fused"] is True


@pytest.mark.parametrize(
    "make",
    [
        partial(Adam, foreach=True),
        partial(Adam, foreach=False),
        partial(Adam, fused=False),
        partial(Adam, capturable=True),
        partial(SGD, differentiable=True),
        RMSprop,
        Derived,
    ],
)
def test_who_has_decided_is_left_alone(make: Any) -> None:
    optimizer = make([OnGPU(torch.ones(2))])
    before = dict(optimizer.param_groups[0])
    fuse(optimizer)
    assert optimizer.param_groups[0] == before


def test_all_parameters_must_lie_on_the_gpu() -> None:
    optimizer = Adam([OnGPU(torch.ones(2)), nn.Parameter(torch.ones(2))])
    fuse(optimizer)
    assert optimizer.param_groups[0]["fused"] is None


def test_a_cpu_takes_plain_steps_also_with_a_checkpoint_of_a_gpu(fused_calls: list[str]) -> None:
    module = CertifiedTrainingModule(network=nn.Linear(3, 2), epsilon=0.1)
    optimizer = module.configure_optimizers()
    net = network()
    of_gpu = Adam(net.parameters(), fused=True, capturable=True)
    steps(net, of_gpu, 1)
    fused_calls.clear()
    optimizer.load_state_dict(of_gpu.state_dict())
    module.network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert fused_calls == []
