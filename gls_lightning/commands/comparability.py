"""Conditions under which the accuracies of networks with different settings may be compared, and one be chosen."""

from collections.abc import Mapping
from typing import Any

from gls_lightning.errors import ConfigurationError
from gls_lightning.reports import flatten, held_out_images

_IMAGES = "all must be compared on the same images"
_FIXED = {
    "seed_everything": "seeds are no setting; --seeds says how many there are",
    "validation_size": _IMAGES,
    "epsilon": "all must be compared at the same radius",
}
"""Keys, by their last part, that may not vary, and why."""


def check_variable(key: str, name: str) -> None:
    """Checks that a key may vary.

    Args:
        key: The key.
        name: The key in the words of the user, for the message.

    Raises:
        ConfigurationError: It may not.
    """
    reason = _IMAGES if key in ("data", "data.class_path") else _FIXED.get(key.rpartition(".")[2])
    if reason is not None:
        raise ConfigurationError(f"{name} may not vary: {reason}")


def check_held_out(resolved: Mapping[str, Any]) -> None:
    """Checks that the test images do not choose; of a data module without ``validation_size``, it decides by itself.

    Args:
        resolved: A whole configuration.

    Raises:
        ConfigurationError: They would.
    """
    if held_out_images(flatten(resolved)) == 0:  # not set for the user: how many can be spared depends on the data
        raise ConfigurationError(
            "data.validation_size is 0, so the test images would choose; hold training images out, such as "
            "--data.validation_size=5000"
        )
