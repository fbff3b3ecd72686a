"""Configurations by their names."""

from pathlib import Path

from gls_lightning.arguments import alternatives
from gls_lightning.configuration.composition import SHIPPED
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CONFIG


def find_config(name: str) -> Path:
    """Finds a configuration in the working directory, that of the run there, or one among those shipped.

    Raises:
        ConfigurationError: There is none; the message lists near names.
    """
    for path in (Path(name), Path(name) / CONFIG, SHIPPED / name):
        if path.is_file():
            return path
    names = [*shipped(), *(path.name for path in Path.cwd().glob("*.yaml"))]
    near = alternatives(name, names) or "; gls configs lists these"
    raise ConfigurationError(f"there is no configuration {name}, here or among the shipped ones{near}")


def shipped() -> list[str]:
    """Lists the names of the shipped configurations, folder by folder; without the fragments, which train nothing."""
    paths = (path.relative_to(SHIPPED) for path in SHIPPED.rglob("*.yaml"))
    whole = (path for path in paths if path.parts[0] != "fragments")
    return [path.as_posix() for path in sorted(whole, key=lambda path: (path.parent, path))]
