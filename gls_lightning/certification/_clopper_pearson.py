"""Confidence intervals of fractions."""


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the exact interval of Clopper and Pearson (1934) for the probability of a success.

    Args:
        successes: Number of trials that succeeded.
        trials: Number of trials, at least 1.
        confidence: Least probability that the interval holds the true value.

    Returns:
        Lower and upper end.

    Example:
        >>> low, high = clopper_pearson(90, trials=100)
        >>> round(low, 3), round(high, 3)
        (0.824, 0.951)
    """
    from scipy.stats import binomtest  # takes seconds, which training need not wait for

    interval = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)
