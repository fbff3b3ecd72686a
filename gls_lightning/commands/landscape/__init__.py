"""``gls landscape``: the loss around the weights."""

from gls_lightning.commands.landscape.command import landscape

__all__ = ["landscape"]
