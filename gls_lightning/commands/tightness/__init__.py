"""``gls tightness``: certified accuracy over the radius, for several relaxations."""

from gls_lightning.commands.tightness.command import tightness

__all__ = ["tightness"]
