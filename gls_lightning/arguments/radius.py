"""The radius of a perturbation, as people write it: ``0.1`` or ``8/255``."""

import re
import warnings
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import register_type

from gls_lightning.errors import ConfigurationError

_FRACTION = re.compile(r"\s*([^/]+)/([^/]+)\s*")
FORMS = "a number such as 0.1 or a fraction such as 8/255"


def parse_radius(value: Any) -> float:
    """Reads a radius as a number.

    Raises:
        ValueError: The value is no number and no fraction of two.
    """
    try:
        parts = fraction.groups() if isinstance(value, str) and (fraction := _FRACTION.fullmatch(value)) else (value,)
        numbers = [float(part) for part in parts if not isinstance(part, bool)]
        radius = numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{value!r} is not {FORMS}") from error
    return radius


if TYPE_CHECKING:
    Radius = float | str
else:

    class Radius(float):
        """Annotation of a radius in the l-infinity norm; the command line passes it on as a float."""

    register_type(Radius, serializer=float, deserializer=parse_radius, type_check=lambda value, _: type(value) is float)


def read_radius(value: Radius, name: str = "epsilon") -> float:
    """Reads the radius of perturbations of images in [0, 1].

    Args:
        value: A number, or a string with a number or a fraction.
        name: Name of the argument, for the message.

    Raises:
        ConfigurationError: The value is something else, or not between 0 and 1.

    Example:
        >>> read_radius("1/4"), read_radius(0.1)
        (0.25, 0.1)
    """
    try:
        radius = parse_radius(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} is {value!r}; it must be {FORMS}") from error
    if not 0 <= radius <= 1:
        hint = f"; {_of_255(radius)}" if radius > 1 else ""
        raise ConfigurationError(f"{name} is {value}; a radius for images in [0, 1] lies between 0 and 1{hint}")
    return radius


def warn_of_large_radius(radius: float, name: str = "epsilon") -> None:
    """Warns of a radius above 0.5, with which every image can be turned into the same uniformly grey one."""
    if radius > 0.5:
        warnings.warn(
            f"{name} is {radius:g}; above 0.5 all images can become the same grey one, and at most one class can be "
            "certified; 8/255 = 0.0314",
            stacklevel=3,
        )


def _of_255(radius: float) -> str:
    steps = int(radius) if radius.is_integer() and radius <= 255 else 8
    return f"{steps}/255 = {steps / 255:.3g}"
