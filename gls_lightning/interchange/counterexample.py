"""Counterexamples in the form of VNN-COMP."""

import numpy as np
from numpy.typing import NDArray


def decimal(value: float) -> str:
    """The shortest decimal number, without an exponent, that reads back as the same float64."""
    return np.format_float_positional(np.float64(value), unique=True, trim="0")


def format_counterexample(point: NDArray[np.floating], outputs: NDArray[np.floating]) -> str:
    """``((X_0 0.5)``, one line for each input and output, and a closing bracket.

    Args:
        point: The input, flat.
        outputs: What the network computes there, flat.
    """
    named = [(f"X_{i}", value) for i, value in enumerate(point)] + [
        (f"Y_{i}", value) for i, value in enumerate(outputs)
    ]
    return "(" + "\n".join(f"({name} {decimal(value)})" for name, value in named) + ")"
