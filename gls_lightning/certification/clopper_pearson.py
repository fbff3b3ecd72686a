"""Confidence intervals of fractions."""


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of Clopper and Pearson (1934) for the probability of a success.

    Args:
        successes: How many trials succeeded.
        trials: How many there were, at least 1.
        confidence: How often, at least, such intervals hold the probability.

    Returns:
        Lower and upper end.
    """
    from scipy.stats import binomtest  # takes seconds, which training need not wait for

    interval = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)
