"""``gls certify``: complete certification of test images."""

from gls_lightning.commands.certify.command import certify

__all__ = ["certify"]
