"""Components given as classes, names or something else, in Python."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.attacks import PGD
from gls_lightning.callbacks import LossLandscapeLogger, PeriodicCertification
from gls_lightning.certification import Certifier
from gls_lightning.diagnostics import GradientDirection, LossLandscape, RandomDirection, TightnessMeter
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS
from gls_lightning.metrics import AdversarialAccuracy, CertifiedAccuracy
from gls_lightning.objectives import EXPIBP, L1, SABR, STAPS, TAPS, Adversarial, Certified
from gls_lightning.relaxations import IBP

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def module(**arguments: Any) -> CertifiedTrainingModule:
    return CertifiedTrainingModule(**{"network": NETWORK, "epsilon": 0.1, **arguments})


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam(NETWORK.parameters())


CLASSES: list[tuple[Callable[..., object], str, type]] = [
    (module, "network", nn.Linear),
    (module, "relaxation", IBP),
    (module, "estimator", RGS),
    (module, "objective", Certified),
    (module, "regularizer", L1),
    (module, "attack", PGD),
    (module, "certifier", Certifier),
    (lambda attack: SABR(subselection_ratio=0.1, attack=attack), "attack", PGD),
    (lambda attack: STAPS(subselection_ratio=0.1, classifier_relus=1, attack=attack), "attack", PGD),
    (lambda latent_attack: TAPS(classifier_relus=1, latent_attack=latent_attack), "latent_attack", PGD),
    (lambda attack: EXPIBP(alpha=0.1, attack=attack), "attack", PGD),
    (Adversarial, "attack", PGD),
    (Certifier, "attack", PGD),
    (lambda relaxations: Certifier(relaxations=[relaxations]), "relaxations", IBP),
    (lambda relaxations: TightnessMeter([0, 0.1], [relaxations]), "relaxations", IBP),
    (lambda relaxations: LossLandscape(relaxations=[relaxations]), "relaxations", IBP),
    (LossLandscape, "direction", RandomDirection),
    (LossLandscape, "second_direction", RandomDirection),
    (GradientDirection, "relaxation", IBP),
    (lambda certifier: CertifiedAccuracy(NETWORK, epsilon=0.1, certifier=certifier), "certifier", Certifier),
    (lambda attack: AdversarialAccuracy(NETWORK, epsilon=0.1, attack=attack), "attack", PGD),
    (PeriodicCertification, "certifier", Certifier),
    (LossLandscapeLogger, "objective", Certified),
]


@pytest.mark.parametrize(("make", "name", "cls"), CLASSES)
def test_classes_and_names(make: Callable[..., object], name: str, cls: type) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} is the class {cls.__name__}; give an object"):
        make(**{name: cls})
    with pytest.raises(ConfigurationError, match=rf"^{name} is '{cls.__name__}'; it must be an object of a class"):
        make(**{name: cls.__name__})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": None}, "network is None; it must be an object of a class derived from torch.nn.Module"),
        ({"relaxation": RGS()}, "relaxation is of type RGS; it must be an object of a class derived from Relaxation"),
        (
            {"optimizer": optimizer()},
            "optimizer is of type Adam; give a function that makes one, such as lambda",
        ),
        ({"optimizer": "Adam"}, "optimizer is 'Adam'; give a function that makes one"),
        (
            {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer(), 1)},
            "scheduler is of type StepLR; give a function that makes one",
        ),
        ({"epsilon": None}, "epsilon is None; it must be a number"),
    ],
)
def test_other_objects(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        module(**arguments)


@pytest.mark.parametrize("relaxations", ["IBP", IBP(), 3, [None]])
def test_lists(relaxations: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^relaxations (is|contains) .*; it must be a list of Relaxation"):
        Certifier(relaxations=relaxations)
