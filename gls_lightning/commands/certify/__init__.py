"""``gls certify``: complete certification of test images."""

from gls_lightning.commands.certify.command import certify
from gls_lightning.commands.certify.workers import Workers, take_workers

__all__ = ["Workers", "certify", "take_workers"]
