"""Checks of arguments, with one style of message."""

from gls_lightning.arguments.component import component, components, shown
from gls_lightning.arguments.near_names import alternatives, near
from gls_lightning.arguments.radius import Radius, read_radius, warn_of_large_radius
from gls_lightning.arguments.require import require
from gls_lightning.arguments.writable_directory import require_writable_directory

__all__ = [
    "Radius",
    "alternatives",
    "component",
    "components",
    "near",
    "read_radius",
    "require",
    "require_writable_directory",
    "shown",
    "warn_of_large_radius",
]
