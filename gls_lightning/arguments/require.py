"""One check of an argument's range, and one style of message."""

from typing import Any

from gls_lightning.errors import ConfigurationError


def require(fits: bool, name: str, value: Any, right: str) -> None:
    """Refuses an argument that is out of its range.

    Args:
        fits: Whether the value is in its range.
        name: Name of the argument, with its section where that is not clear: ``epsilon_annealing.end_epoch``.
        value: The argument.
        right: The values that are right, in words that follow "it must be".

    Raises:
        ConfigurationError: The value does not fit: ``samples is 0; it must be at least 1``.

    Example:
        >>> samples = 0
        >>> require(samples >= 1, "samples", samples, "at least 1")
        Traceback (most recent call last):
        ...
        gls_lightning.errors.ConfigurationError: samples is 0; it must be at least 1
    """
    if not fits:
        raise ConfigurationError(f"{name} is {value!r}; it must be {right}")
