"""The checkpoint that a command is given, checked before anything is built."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.errors import ConfigurationError
from gls_lightning.weights import read_checkpoint, require_of_run


def check_checkpoint(command: str, config: Namespace, *, own: bool) -> None:
    """Refuses a checkpoint that the command cannot use, and warns where an evaluation has none.

    Args:
        command: The command.
        config: Its configuration, whose ``weights_only`` is settled.
        own: Whether it is one of this package's commands, which also take the weights of a network alone.

    Raises:
        ConfigurationError: The file cannot be read or is of something else; ``fit`` cannot go on from it.
    """
    path = config.get("ckpt_path")
    if path is None and command != "fit":
        rank_zero_warn(f"gls {command} without ckpt_path evaluates the network as it is initialised.")
    of_network = own and Path(path or "").suffix == ".safetensors"
    if path in (None, "last", "best", "hpc") or of_network:
        return
    checkpoint = read_checkpoint(path, weights_only=config.weights_only)
    if not own:
        require_of_run(path, checkpoint, resumable=command == "fit")
    if command == "fit":
        _require_optimizer(path, checkpoint, config.get("model.init_args.optimizer.class_path"))


def _require_optimizer(path: str, checkpoint: dict[str, Any], given: str | None) -> None:
    """Refuses to go on with an optimizer that cannot have the state of the checkpoint's."""
    arguments = checkpoint.get("hyper_parameters")
    saved = arguments.get("optimizer") if isinstance(arguments, dict) else None
    name = saved.get("class_path") if isinstance(saved, dict) else None
    if None not in (name, given) and name != given:
        raise ConfigurationError(
            f"model.optimizer is {given}, but {path} holds the state of {name}; model.init_from takes its weights alone"
        )
