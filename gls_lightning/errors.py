"""The exceptions of this package."""


class ConfigurationError(ValueError):
    """Bad input, found before anything long starts.

    The message names the key, its value and what would be right. ``gls`` prints it as one line; any other exception
    is a defect of the program and keeps its traceback.
    """


class ContradictionError(RuntimeError):
    """Two results that cannot both be true, such as a proof and a counterexample: some bound is wrong."""
