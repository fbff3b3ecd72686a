"""Attacks: adversarial inputs inside a box."""

from gls_lightning.attacks.attack import Attack
from gls_lightning.attacks.losses import margin
from gls_lightning.attacks.pgd import PGD

__all__ = ["PGD", "Attack", "margin"]
