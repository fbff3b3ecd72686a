"""What a trained network is like: how tight each relaxation bounds it."""

from gls_lightning.diagnostics.tightness import Tightness, TightnessMeter, radius_grid

__all__ = ["Tightness", "TightnessMeter", "radius_grid"]
