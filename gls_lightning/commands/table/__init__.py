"""``gls table``."""

from gls_lightning.commands.table.command import table

__all__ = ["table"]
