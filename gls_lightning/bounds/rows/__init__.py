"""Coefficients of linear bounds, in the form that is cheapest."""

from gls_lightning.bounds.rows.rows import Rows

__all__ = ["Rows"]
