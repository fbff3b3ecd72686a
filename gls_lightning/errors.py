"""The one exception that bad input raises."""


class ConfigurationError(ValueError):
    """Bad input, found before anything long starts.

    The message names the key, its value and what would be right. ``gls`` prints it as one line; any other exception
    is a defect of the program and keeps its traceback.
    """
