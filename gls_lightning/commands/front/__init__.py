"""``gls front``: a search for the front of natural and certified accuracy."""

from gls_lightning.commands.front.command import front

__all__ = ["front"]
