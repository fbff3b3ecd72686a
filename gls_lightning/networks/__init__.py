"""The field's convolutional networks, with their input normalisation and initialisations."""

from gls_lightning.networks.convolutional import CNN3, CNN5, CNN5L, CNN7, CNN3Tiny
from gls_lightning.networks.initialization import ibp_initialization, kaiming_uniform_initialization
from gls_lightning.networks.normalization import Normalization

__all__ = [
    "CNN3",
    "CNN5",
    "CNN5L",
    "CNN7",
    "CNN3Tiny",
    "Normalization",
    "ibp_initialization",
    "kaiming_uniform_initialization",
]
