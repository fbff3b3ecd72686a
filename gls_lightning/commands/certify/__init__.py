"""``gls certify``."""

from gls_lightning.commands.certify.command import certify

__all__ = ["certify"]
