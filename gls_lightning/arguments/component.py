"""Checks of arguments that are components, without which a class or a name in their place would fail much later."""

from collections.abc import Iterable
from typing import TypeVar

from gls_lightning.errors import ConfigurationError

Component = TypeVar("Component")


def component(name: str, value: Component | None, base: type) -> Component | None:
    """Returns the value if it is None or an object of the class.

    Args:
        name: Name of the argument, for the message.
        value: The argument.
        base: The class.

    Raises:
        ConfigurationError: The value is something else, such as the class itself.
    """
    if value is None or isinstance(value, base):
        return value
    if isinstance(value, type):
        raise ConfigurationError(f"{name} is the class {value.__name__}; give an object, such as {value.__name__}()")
    raise ConfigurationError(f"{name} is {shown(value)}; it must be an object of a class derived from {base.__name__}")


def shown(value: object) -> str:
    """Shows a value in a message: the value itself if it is plain, otherwise its type."""
    plain = value is None or isinstance(value, str | int | float | bool)
    return repr(value) if plain else f"of type {type(value).__name__}"


def components(name: str, values: Iterable[Component], base: type) -> list[Component]:
    """Returns the values as a list if each is an object of the class.

    Raises:
        ConfigurationError: A value is something else, or they are no list.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name} is {shown(values)}; it must be a list of {base.__name__} objects")
    found = [component(name, value, base) for value in values]
    if None in found:
        raise ConfigurationError(f"{name} contains None; it must be a list of {base.__name__} objects")
    return [value for value in found if value is not None]
