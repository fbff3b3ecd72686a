"""Errors with which Lightning refuses what it is asked to do."""

from lightning.fabric.utilities.exceptions import MisconfigurationException

from gls_lightning.command_line.parse_failure import read_failure
from gls_lightning.command_line.refusal import explain
from gls_lightning.errors import ConfigurationError


def refused_by_lightning(error: Exception) -> ConfigurationError | None:
    """Turns an error that Lightning raised about its input into bad input; any other into None."""
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    module, owner = _raised_in(first)
    by_lightning = module.startswith("lightning.") and isinstance(first, ValueError | ModuleNotFoundError)
    if not (by_lightning or isinstance(first, MisconfigurationException)):
        return None
    said = explain(read_failure(error))
    return ConfigurationError(f"{owner}: {said}" if owner and not owner.startswith("_") else said)


def _raised_in(error: BaseException) -> tuple[str, str]:
    """Names the module and the class whose method raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "", ""
    owner = trace.tb_frame.f_locals.get("self")
    return str(trace.tb_frame.f_globals.get("__name__", "")), "" if owner is None else type(owner).__name__
