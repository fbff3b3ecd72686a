import math

import pytest
import torch

from gls_lightning.errors import ConfigurationError
from gls_lightning.networks import Normalization


def test_normalises_each_channel():
    layer = Normalization(mean=[0.5, 0.25], std=[0.5, 2.0])
    x = torch.ones(3, 2, 4, 4)
    expected = torch.tensor([1.0, 0.375]).view(1, 2, 1, 1).expand(3, 2, 4, 4)
    torch.testing.assert_close(layer(x), expected)
    assert not list(layer.parameters())


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([], [], "one number per channel"),
        ([0.1], [0.2, 0.3], "one number per channel"),
        ([math.nan], [0.2], r"mean is \[nan\]; it must be finite"),
        ([0.1], [-0.2], r"std is \[-0.2\]; it must be positive"),
        ([0.1], [math.inf], r"std is \[inf\]; it must be positive"),
    ],
)
def test_refuses_bad_arguments(mean, std, message):
    with pytest.raises(ConfigurationError, match=message):
        Normalization(mean=mean, std=std)
