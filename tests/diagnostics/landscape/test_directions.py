"""Directions, against gradients, norms and weights that are computed otherwise."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from gls_lightning.bounds import trace
from gls_lightning.diagnostics import CheckpointDirection, GradientDirection, RandomDirection
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import Batch, Certified
from gls_lightning.relaxations import IBP, AlphaCROWN, DeepPoly
from gls_lightning.training.loss import TrainingLoss, parameter_names


def network(seed: int = 0, hidden: int = 6) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 3)
    return nn.Sequential(*layers).double()


def loss_of(net: nn.Module, epsilon: float = 0.0) -> TrainingLoss:
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 1, 4, 4, generator=generator, dtype=torch.double)
    batch = Batch(x, torch.arange(5) % 3, torch.tensor(epsilon, dtype=torch.double))
    return TrainingLoss(trace(net, (1, 4, 4)), IBP(), Certified(), tensors, parameter_names(net, tensors), batch)


def test_a_gradient_step_without_a_box_is_that_of_the_cross_entropy() -> None:
    net = network()
    loss = loss_of(net)
    F.cross_entropy(net(loss.batch.inputs), loss.batch.labels).backward()
    step = GradientDirection(learning_rate=0.3)(loss)
    assert step.keys() == dict(net.named_parameters()).keys()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(step[name], -0.3 * parameter.grad)


def test_the_gradient_is_that_of_the_relaxation_which_is_named() -> None:
    loss = loss_of(network(), 0.1)
    steps = [GradientDirection(relaxation=relaxation)(loss) for relaxation in (IBP(), DeepPoly())]
    assert not torch.allclose(steps[0]["3.weight"], steps[1]["3.weight"])
    moved = {name: p + step for (name, p), step in zip(loss.params.items(), steps[0].values(), strict=True)}
    before, after = loss(loss.params)[0], loss(moved)[0]
    slope = -sum((step**2).sum() for step in steps[0].values()) / 5e-5
    assert (after - before).item() == pytest.approx(slope.item(), rel=0.01)


@given(st.integers(0, 5))
def test_a_random_direction_has_the_norm_of_each_filter(seed: int) -> None:
    loss = loss_of(network())
    step = RandomDirection(seed=seed)(loss)
    for name, p in loss.params.items():
        if p.ndim == 1:
            assert not step[name].any()
        else:
            torch.testing.assert_close(step[name].flatten(1).norm(dim=1), p.flatten(1).norm(dim=1))


def test_the_seed_alone_determines_a_random_direction() -> None:
    loss = loss_of(network())
    first, again, other = (RandomDirection(seed=seed)(loss)["0.weight"] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_coordinate_1_is_the_other_checkpoint(kind: str, tmp_path: Path) -> None:
    net, other = network(), network(1)
    path = str(tmp_path / f"other.{kind}")
    if kind == "ckpt":
        torch.save({"state_dict": {f"network.{n}": t for n, t in other.state_dict().items()}}, path)
    else:
        save_file(other.state_dict(), path)
    loss = loss_of(net)
    step = CheckpointDirection(path=path)(loss)
    for name, p in loss.params.items():
        torch.testing.assert_close(p + step[name], other.state_dict()[name])


def test_a_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    path = str(tmp_path / "other.safetensors")
    save_file(network(hidden=7).state_dict(), path)
    with pytest.raises(ConfigurationError, match=r"other.safetensors is of another architecture.*3.weight is \(7, 8\)"):
        CheckpointDirection(path=path)(loss_of(network()))


def test_a_checkpoint_with_more_layers(tmp_path: Path) -> None:
    path = str(tmp_path / "other.safetensors")
    save_file({**network().state_dict(), "6.weight": torch.ones(3, 3)}, path)
    with pytest.raises(ConfigurationError, match=r"other.safetensors is of another architecture.*6.weight"):
        CheckpointDirection(path=path)(loss_of(network()))


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no checkpoint nowhere.ckpt"):
        CheckpointDirection(path="nowhere.ckpt")(loss_of(network()))


def test_bad_options() -> None:
    with pytest.raises(ConfigurationError, match="learning_rate is 0; it must be positive"):
        GradientDirection(learning_rate=0)
    with pytest.raises(ConfigurationError, match="relaxation of the direction is AlphaCROWN, which has no useful"):
        GradientDirection(relaxation=AlphaCROWN())
    with pytest.raises(ConfigurationError, match="seed of the direction is -1"):
        RandomDirection(seed=-1)
