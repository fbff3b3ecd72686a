from itertools import pairwise

import pytest
import torch
from torch import nn

from gls_lightning.errors import ConfigurationError
from gls_lightning.networks import CNN3, CNN5, CNN5L, CNN7, CNN3Tiny

MNIST = {"input_shape": (1, 28, 28), "num_classes": 10}
CIFAR = {"input_shape": (3, 32, 32), "num_classes": 10}
TIN = {"input_shape": (3, 64, 64), "num_classes": 200}
BATCH_NORM = 2 * (64 + 64 + 128 + 128 + 128 + 512)


@pytest.mark.parametrize(
    ("network", "data", "options", "count"),
    [
        (CNN3Tiny, MNIST, {}, 1_108),
        (CNN3, MNIST, {}, 5_170),
        (CNN3, CIFAR, {}, 6_770),
        (CNN5, MNIST, {}, 165_850),
        (CNN5, CIFAR, {}, 281_338),
        (CNN5, TIN, {}, 1_165_240),
        (CNN5L, MNIST, {}, 793_930),
        (CNN5L, CIFAR, {}, 1_255_882),
        (CNN7, MNIST, {"batch_norm": False}, 13_257_290),
        (CNN7, CIFAR, {"batch_norm": False}, 17_190_602),
        (CNN7, TIN, {"batch_norm": False}, 17_288_072),
        (CNN7, MNIST, {}, 13_257_290 + BATCH_NORM),
        (CNN7, TIN, {}, 17_288_072 + BATCH_NORM),
    ],
)
def test_has_the_published_number_of_parameters(network, data, options, count):
    with torch.device("meta"):
        built = network(**data, **options, initialization="default")
    assert sum(parameter.numel() for parameter in built.parameters()) == count


@pytest.mark.parametrize(("data", "stride"), [(MNIST, (1, 1)), (CIFAR, (1, 1)), (TIN, (2, 2))])
def test_cnn7_halves_large_images_once_more(data, stride):
    with torch.device("meta"):
        assert CNN7(**data, initialization="default").conv5.stride == stride


@pytest.mark.parametrize("network", [CNN3Tiny, CNN3, CNN5, CNN5L, CNN7])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_gives_logits_and_can_be_traced(network, batch_norm):
    built = network(
        input_shape=(3, 8, 8), num_classes=5, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), batch_norm=batch_norm
    ).eval()
    x = torch.rand(2, 3, 8, 8)
    assert built(x).shape == (2, 5)
    torch.testing.assert_close(torch.fx.symbolic_trace(built)(x), built(x))


def test_layers_follow_the_table():
    network = CNN5(mean=[0.1], std=[0.2])
    assert [(name, type(layer).__name__) for name, layer in network.named_children()] == [
        ("normalization", "Normalization"),
        ("conv1", "Conv2d"),
        ("relu1", "ReLU"),
        ("conv2", "Conv2d"),
        ("relu2", "ReLU"),
        ("conv3", "Conv2d"),
        ("relu3", "ReLU"),
        ("flatten", "Flatten"),
        ("fc", "Linear"),
        ("relu4", "ReLU"),
        ("output", "Linear"),
    ]
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0], c.padding[0]) for c in convolutions] == [(5, 2, 2), (4, 2, 1), (4, 2, 1)]


def test_state_names_are_stable():
    assert list(CNN3(batch_norm=True, mean=[0.1], std=[0.2]).state_dict()) == [
        "normalization.mean",
        "normalization.std",
        "conv1.weight",
        "conv1.bias",
        *(f"batch_norm1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        "conv2.weight",
        "conv2.bias",
        *(f"batch_norm2.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        "output.weight",
        "output.bias",
    ]


def test_can_be_sliced_and_indexed():
    network = CNN3()
    assert list(network[:2].state_dict()) == ["conv1.weight", "conv1.bias"]
    assert network[-1] is network.output


def test_batch_norm_stands_before_every_relu_of_cnn7():
    layers = list(CNN7(input_shape=(1, 8, 8), mean=[0.1], std=[0.2]))
    assert len(layers) == 21
    for before, layer in pairwise(layers):
        assert not isinstance(layer, nn.ReLU) or isinstance(before, nn.BatchNorm2d | nn.BatchNorm1d)


def test_normalises_only_on_request():
    assert not hasattr(CNN3(), "normalization")
    assert next(iter(CNN3(mean=[0.1], std=[0.2]))).mean.shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (28, 28)}, r"input_shape is \(28, 28\); it must be three positive numbers"),
        ({"input_shape": (0, 28, 28)}, r"input_shape is \(0, 28, 28\); it must be three positive numbers"),
        ({"input_shape": (1, 1, 28)}, r"input_shape is \(1, 1, 28\), too small for CNN3"),
        ({"num_classes": 1}, "num_classes is 1; it must be at least 2"),
        ({"initialization": "xavier"}, "initialization is 'xavier'; it must be one of ibp, kaiming_uniform, default"),
        ({"mean": [0.1]}, r"mean is \[0.1\] and std is None; they must be given together"),
        ({"std": [0.1]}, r"mean is None and std is \[0.1\]; they must be given together"),
        ({"mean": [0.1] * 3, "std": [0.2] * 3}, "one number for each of the 1 channels"),
        ({"mean": [0.1], "std": [0.0]}, r"std is \[0.0\]; it must be positive and finite"),
    ],
)
def test_refuses_bad_arguments(options, message):
    with pytest.raises(ConfigurationError, match=message):
        CNN3(**options)
