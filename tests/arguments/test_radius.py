"""Radii as people write them."""

import warnings
from typing import Any

import pytest
import torch

from gls_lightning import CertifiedTrainingModule
from gls_lightning.arguments.radius import read_radius, warn_of_large_radius
from gls_lightning.certification import Certifier
from gls_lightning.diagnostics import TightnessMeter
from gls_lightning.errors import ConfigurationError
from gls_lightning.metrics import AdversarialAccuracy, CertifiedAccuracy
from gls_lightning.networks import CNN3Tiny
from gls_lightning.relaxations import IBP


@pytest.mark.parametrize(
    ("value", "number"),
    [("8/255", 8 / 255), (" 2 / 255 ", 2 / 255), ("0.1", 0.1), ("1e-3", 1e-3), (0, 0.0), (1, 1.0), (0.25, 0.25)],
)
def test_numbers_and_fractions(value: Any, number: float) -> None:
    assert read_radius(value) == number


@pytest.mark.parametrize("value", ["", "a", "8/0", "1/2/3", "8/", None, True, [0.1], {}])
def test_what_is_neither(value: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_radius(value, "max_epsilon")
    assert str(error.value) == f"max_epsilon is {value!r}; it must be a number such as 0.1 or a fraction such as 8/255"


@pytest.mark.parametrize(
    ("value", "hint"),
    [(8, "; 8/255 = 0.0314"), (1.5, "; 8/255 = 0.0314"), (-0.1, ""), ("16", "; 16/255 = 0.0627"), (float("nan"), "")],
)
def test_out_of_range(value: Any, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^epsilon is {value}; .* lies between 0 and 1{hint}$"):
        read_radius(value)


def test_above_a_half_the_usual_radius_is_named() -> None:
    with pytest.warns(UserWarning, match=r"epsilon is 0.8; .* 8/255 = 0.0314"):
        CertifiedTrainingModule(network=CNN3Tiny(input_shape=(1, 8, 8)), epsilon=0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_large_radius(0.5)


def test_wherever_there_is_a_radius() -> None:
    network = CNN3Tiny(input_shape=(1, 8, 8))
    module = CertifiedTrainingModule(network=network, epsilon="8/255", input_shape=(1, 8, 8))
    assert module.epsilon == module.hparams["epsilon"] == 8 / 255
    assert CertifiedAccuracy(network, epsilon="2/255").epsilon == 2 / 255
    assert AdversarialAccuracy(network, epsilon="2/255").epsilon == 2 / 255
    assert TightnessMeter(["0", "8/255"], [IBP()]).radii == (0, 8 / 255)
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    by_number, by_fraction = (
        Certifier().certify(module.graph, module.tensors(), images, labels, labels, epsilon)
        for epsilon in (8 / 255, "8/255")
    )
    assert [record.verdict for record in by_number] == [record.verdict for record in by_fraction]
