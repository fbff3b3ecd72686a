"""Optimizers that PyTorch does not have."""

from gls_lightning.optimizers.clip_up import ClipUp

__all__ = ["ClipUp"]
