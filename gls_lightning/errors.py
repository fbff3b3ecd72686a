"""The exceptions of this package."""


class ConfigurationError(ValueError):
    """Bad input, found before anything long starts.

    The message names the key, its value and what would be right. ``gls`` prints it as one line; any other exception
    is a defect of the program and keeps its traceback.
    """

    def __init__(self, message: str = "") -> None:
        # A loader's worker sends the text of the whole traceback, from which PyTorch makes the error anew.
        if message.startswith("Caught ") and "in DataLoader worker process" in message.partition("\n")[0]:
            name = f"{type(self).__module__}.{type(self).__qualname__}: "
            message = message.rpartition(f"\n{name}")[2].strip() or message
        super().__init__(message)


class ContradictionError(RuntimeError):
    """Two results that cannot both be true, such as a proof and a counterexample: some bound is wrong."""
