"""Counterexamples in the form of VNN-COMP."""

import numpy as np
from numpy.typing import NDArray


def decimal(value: float) -> str:
    """Writes a number with the fewest digits that give back the same float64, without an exponent.

    Example:
        >>> decimal(1e-05)
        '0.00001'
    """
    return np.format_float_positional(np.float64(value), unique=True, trim="0")


def format_counterexample(point: NDArray[np.floating], outputs: NDArray[np.floating]) -> str:
    """Writes a line such as ``(X_0 0.5)`` for each input and output, all in brackets.

    Args:
        point: The input, flat.
        outputs: The network's outputs there, flat.
    """
    named = [(f"X_{i}", value) for i, value in enumerate(point)] + [
        (f"Y_{i}", value) for i, value in enumerate(outputs)
    ]
    return "(" + "\n".join(f"({name} {decimal(value)})" for name, value in named) + ")"
