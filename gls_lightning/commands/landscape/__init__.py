"""``gls landscape``."""

from gls_lightning.commands.landscape.command import landscape

__all__ = ["landscape"]
