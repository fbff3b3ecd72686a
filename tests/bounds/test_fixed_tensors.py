"""Constants that are neither parameters nor buffers, against the network itself at samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from gls_lightning.bounds import Box, UnsupportedOperationError, margin_specification, trace
from gls_lightning.certification import Certifier, Verdict
from gls_lightning.certification.fingerprint import fingerprint
from gls_lightning.interchange.onnx_export import write_onnx
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation

MEAN, STD = torch.tensor([0.1, -0.2, 0.3, 0.0, 0.5, 0.7]), torch.tensor([0.3, 0.5, 2.0, 1.0, 0.4, 0.6])


class Normalising(nn.Module):
    """An MLP behind a function of itself and the input.

    Args:
        normalise: The function.
        buffers: Buffers that are no part of the state, by name.
        attributes: Attributes by name.
    """

    def __init__(
        self,
        normalise: Callable[[Any, Tensor], Tensor],
        buffers: dict[str, Tensor] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.normalise = normalise
        for name, buffer in (buffers or {}).items():
            self.register_buffer(name, buffer, persistent=False)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.normalise(self, x))


def plain() -> Normalising:
    return Normalising(lambda own, x: (x - own.mean) / own.std, mean=MEAN, std=STD)


NETWORKS = {
    "attributes": plain,
    "inner module": lambda: Normalising(lambda own, x: x - own.inner.mean, inner=plain()),
    "list": lambda: Normalising(lambda own, x: (x - own.statistics[0]) / own.statistics[1], statistics=[MEAN, STD]),
    "made in forward": lambda: Normalising(lambda own, x: (x - torch.tensor(MEAN.tolist())) / torch.tensor(0.3)),
    "derived": lambda: Normalising(lambda own, x: x * (1 / own.std) - (own.mean / own.std)[None], mean=MEAN, std=STD),
    "constant minus input": lambda: Normalising(lambda own, x: own.mean - x, mean=MEAN),
    "methods": lambda: Normalising(lambda own, x: x.sub(own.mean).div(own.std), mean=MEAN, std=STD),
    "whole numbers": lambda: Normalising(lambda own, x: x * own.scale, scale=torch.arange(6)),
    "double scalar": lambda: Normalising(lambda own, x: x * own.scale, scale=torch.tensor(0.3, dtype=torch.float64)),
    "NumPy": lambda: Normalising(lambda own, x: x - own.mean, mean=MEAN.numpy()),
    "NumPy scalar": lambda: Normalising(lambda own, x: x / own.std, std=np.float32(0.3)),
    "Python numbers": lambda: Normalising(lambda own, x: (x - own.mean) / own.std, mean=0.2, std=0.3),
    "buffer outside of the state": lambda: Normalising(lambda own, x: x - own.mean, buffers={"mean": MEAN}),
    "frozen parameter": lambda: Normalising(lambda own, x: x * own.scale, scale=nn.Parameter(STD, requires_grad=False)),
    "leaf with a gradient": lambda: Normalising(lambda own, x: x * own.scale, scale=STD.clone().requires_grad_()),
}
RELAXATIONS = [IBP(), HBox(), CROWNIBP(), DeepPoly(), AlphaCROWN(steps=2)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_hold_at_samples(name: str, dtype: torch.dtype) -> None:
    network = NETWORKS[name]()
    graph, tensors = trace(network, (6,)), {n: t.to(dtype) for n, t in network.state_dict().items()}
    x = torch.rand(4, 6, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(graph(tensors, x), network.to(dtype)(x))
        box = Box.around(x, 0.1)
        samples = torch.lerp(*box, torch.rand(100, 4, 6, dtype=dtype)).flatten(0, 1)
        logits = network(samples).unflatten(0, (100, 4))
        for relaxation in RELAXATIONS:
            lower = relaxation(graph, tensors, box, torch.eye(3, dtype=dtype).expand(4, 3, 3))
            assert lower.dtype == dtype
            assert (logits >= lower - 1e-5).all(), relaxation


@pytest.mark.parametrize("relaxation", [IBP(), HBox(), CROWNIBP(), DeepPoly()])
def test_members_of_a_population_share_them(relaxation: Relaxation) -> None:
    network = plain()
    graph, box = trace(network, (6,)), Box.around(torch.rand(2, 6), 0.1)
    specification = margin_specification(torch.tensor([0, 2]), 3)
    members = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in network.named_parameters()}
    together = torch.func.vmap(lambda tensors: relaxation(graph, tensors, box, specification))(members)
    for member in range(2):
        alone = relaxation(graph, {name: p[member] for name, p in members.items()}, box, specification)
        torch.testing.assert_close(together[member], alone)


def test_certified_in_double_precision_and_told_apart_in_records() -> None:
    """The weights of both networks are equal; one moves the images far to one side, where class 1 wins by far."""
    networks = [Normalising(lambda own, x: x - own.mean, mean=mean) for mean in (MEAN, MEAN + 100)]
    x = torch.rand(2, 6)
    prints = []
    for network in networks:
        graph, tensors, labels = trace(network, (6,)), network.state_dict(), network(x).argmax(1)
        (first, second) = Certifier().certify(graph, tensors, x, labels, torch.arange(2), 1e-4)
        assert first.verdict == second.verdict == Verdict.CERTIFIED
        prints.append(fingerprint(graph, tensors, 0.1, "digits", [(x, torch.zeros(2, dtype=torch.long))]))
        again = fingerprint(trace(network, (6,)), tensors, 0.1, "digits", [(x, torch.zeros(2, dtype=torch.long))])
        assert prints[-1] == again
    assert prints[0]["weights"] == prints[1]["weights"]
    assert prints[0]["architecture"] != prints[1]["architecture"]


def test_a_buffer_outside_of_the_state_is_read_where_it_is_given() -> None:
    network = NETWORKS["buffer outside of the state"]()
    graph, x = trace(network, (6,)), torch.rand(2, 6)
    network.mean.add_(1)
    tensors = {**network.state_dict(), **dict(network.named_buffers())}
    torch.testing.assert_close(graph(tensors, x), network(x))


def test_exported(tmp_path: Path) -> None:
    network = plain()
    write_onnx(network, (6,), tmp_path / "network.onnx")
    x = torch.rand(3, 6)
    exported = torch.as_tensor(OnnxNetwork(tmp_path / "network.onnx")(x.numpy()))
    torch.testing.assert_close(exported, network(x).detach().double(), rtol=1e-4, atol=1e-5)


def pruned() -> nn.Module:
    network = nn.Linear(6, 3).requires_grad_(False)
    prune.l1_unstructured(network, "weight", 3)
    return nn.Sequential(network.requires_grad_(False))


def weight_from_outside() -> nn.Module:
    return Normalising(lambda own, x: F.linear(x, own.weight), weight=torch.rand(6, 6))


REFUSED = {
    "computed from parameters": (
        lambda: Normalising(lambda own, x: x * own.scale, scale=nn.Linear(1, 6).weight[:, 0]),
        "scale of the network is a tensor that was computed from parameters",
    ),
    "derived from a parameter": (
        lambda: Normalising(lambda own, x: x * (1 / own.scale), scale=nn.Parameter(STD)),
        "not computed from parameters or buffers",
    ),
    "number from a parameter": (
        lambda: Normalising(lambda own, x: x / own.scale.sum().item(), scale=nn.Parameter(STD)),
        "not computed from parameters or buffers",
    ),
    "parameter in a list": (
        lambda: Normalising(lambda own, x: x * own.scales[0], scales=[nn.Parameter(STD)]),
        "parameter is not a member",
    ),
    "random": (lambda: Normalising(lambda own, x: x + torch.rand(6)), "random numbers"),
    "of one batch": (
        lambda: Normalising(lambda own, x: x + own.shift, shift=torch.rand(2, 6)),
        "not the same for all samples",
    ),
    "number of the batch": (
        lambda: Normalising(lambda own, x: x / x.shape[0]),
        "something else than its traced operations",
    ),
    "weight of a layer": (weight_from_outside, "weight and bias must be parameters"),
    "weight norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 3))), r"0\.weight of the network"),
    "spectral norm": (lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 3))), "its weight is no parameter"),
    "pruned": (pruned, "weight"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_is_no_constant_is_refused_by_name(name: str) -> None:
    network, message = REFUSED[name]
    with pytest.raises(UnsupportedOperationError, match=message) as error:
        trace(network(), (6,))
    assert "\n" not in str(error.value)
