"""Loading of modules from checkpoints."""

import sys
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.saving import CHECKPOINT_PAST_HPARAMS_KEYS

from gls_lightning.arguments import alternatives
from gls_lightning.configuration import check_arguments
from gls_lightning.errors import ConfigurationError
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.private_names import of_checkpoints
from gls_lightning.weights import read_checkpoint

_HYPERPARAMETERS = *CHECKPOINT_PAST_HPARAMS_KEYS, LightningModule.CHECKPOINT_HYPER_PARAMS_KEY
"""The keys of a checkpoint under which Lightning looks for a module's arguments; later ones win."""


def load(path: str | Path, *, trust_run: bool = False, **arguments: Any) -> CertifiedTrainingModule:
    """Loads a module from a checkpoint, as the class that was saved.

    Args:
        path: The checkpoint.
        trust_run: Whether it may name any function or class for the module's arguments, as a checkpoint of one's own
            may: whoever made it then decides what is executed.
        **arguments: Arguments of the class's constructor. Those that were given as objects in Python, such as the
            network or a function for the optimizer, are not in the checkpoint and must be given again; others override
            the checkpoint's. Modules made by the command line need none.

    Raises:
        ConfigurationError: The file does not exist or is no checkpoint of a ``CertifiedTrainingModule``, its class is
            not imported, it is of another architecture, an object is not given again, or it names something that is no
            component and is not trusted.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> from lightning.pytorch import Trainer
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> module = CertifiedTrainingModule(network=network, epsilon=0.1)
        >>> trainer = Trainer(accelerator="cpu", logger=False, enable_model_summary=False)
        >>> trainer.strategy.connect(module)
        >>> with TemporaryDirectory() as folder:
        ...     trainer.save_checkpoint(Path(folder, "last.ckpt"))
        ...     loaded = load(Path(folder, "last.ckpt"), network=network)
        >>> loaded.epsilon
        0.1
    """
    checkpoint = read_checkpoint(path)
    found = _class_of(checkpoint, path)
    _require_known(found, arguments)
    if missing := [name for name in checkpoint.get("given_objects", ()) if name not in arguments]:
        raise ConfigurationError(
            f"{path} does not hold the module's {', '.join(missing)}, given as objects in Python; give them to load too"
        )
    if not trust_run:
        _check_hyperparameters(checkpoint, found, arguments, str(path))
    return found.load_from_checkpoint(path, map_location="cpu", weights_only=True, **arguments)


def _class_of(checkpoint: Mapping[str, Any], path: str | Path) -> type[CertifiedTrainingModule]:
    """Finds the class that a checkpoint names among what is imported."""
    name = checkpoint.get("module_class")
    if not isinstance(name, str):
        raise ConfigurationError(f"{path} is no checkpoint of a CertifiedTrainingModule")
    module, _, qualified_name = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, CertifiedTrainingModule)):
        raise ConfigurationError(f"{path} is a checkpoint of {qualified_name}; import it from {module} before loading")
    return found


def _require_known(found: type, arguments: Mapping[str, Any]) -> None:
    parameters = signature(found).parameters
    if any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in arguments.keys() - parameters.keys() - {"strict", "hparams_file"}:  # Lightning's own
        said = f"{found.__name__} has no argument {name}, which load was given"
        raise ConfigurationError(said + alternatives(name, parameters))


def _check_hyperparameters(
    checkpoint: Mapping[str, Any], found: type, arguments: Mapping[str, Any], source: str
) -> None:
    """Refuses what a checkpoint names that is no component, of all from which Lightning would make the module."""
    saved = {name: value for key in _HYPERPARAMETERS for name, value in checkpoint.get(key, {}).items()}
    names = signature(found.__init__).parameters  # type: ignore[misc]
    open_ended = any(parameter.kind == Parameter.VAR_KEYWORD for parameter in names.values())
    used = {name: value for name, value in saved.items() if open_ended or name in names}
    if used.pop(of_checkpoints.INSTANTIATOR, saved.get(of_checkpoints.INSTANTIATOR)) is not None:
        folders = [str(Path.cwd()), sys.path[0]]
        check_arguments(found, used, arguments.keys(), source, folders, "load(..., trust_run=True)")
