import math

import pytest
import torch
from torch import nn

from gls_lightning.networks import CNN5L, ibp_initialization, kaiming_uniform_initialization

SHAPE = (3, 16, 16)


def built(initialization, seed=0, **options):
    torch.manual_seed(seed)
    return CNN5L(input_shape=SHAPE, initialization=initialization, **options)


# Weights of conv2 (64 * 64 * 16), conv3 (128 * 64 * 16) and fc (512 * 512): at least 65,536 draws, so the sample's
# standard deviation is within 0.3 % (one sigma) of the true one.
@pytest.mark.parametrize(("name", "fan_in"), [("conv2", 64 * 16), ("conv3", 64 * 16), ("fc", 128 * 2 * 2)])
def test_ibp_has_the_stated_spread(name, fan_in):
    weight = built("ibp").get_submodule(name).weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / fan_in, rel=0.015)
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * weight.std().item())
    assert weight.abs().max() > 3.5 * weight.std()  # normal, not uniform


@pytest.mark.parametrize(("name", "fan_in"), [("conv2", 64 * 16), ("conv3", 64 * 16), ("fc", 128 * 2 * 2)])
def test_kaiming_uniform_has_the_stated_range(name, fan_in):
    weight = built("kaiming_uniform").get_submodule(name).weight
    bound = math.sqrt(6 / fan_in)
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.015)


@pytest.mark.parametrize("initialize", [ibp_initialization, kaiming_uniform_initialization])
def test_leaves_output_biases_and_batch_norm_alone(initialize):
    network = built("default", batch_norm=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    initialize(network)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"}


def test_default_is_pytorch():
    network = built("default")
    torch.manual_seed(0)
    assert torch.equal(network.conv1.weight, nn.Conv2d(3, 64, 5).weight)


def test_same_seed_same_weights():
    first, second = built("ibp").state_dict(), built("ibp").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc.weight"], built("ibp", seed=1).fc.weight)
