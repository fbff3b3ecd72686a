"""``gls tightness``."""

from gls_lightning.commands.tightness.command import tightness

__all__ = ["tightness"]
