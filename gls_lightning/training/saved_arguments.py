"""The arguments of a module that its checkpoints keep, and a check of the tensors in them."""

import warnings
from collections.abc import Mapping
from inspect import signature
from typing import Any

from lightning.pytorch import LightningModule

from gls_lightning.errors import ConfigurationError
from gls_lightning.weights import require_finite, require_same_architecture

ESTIMATOR = "estimator."
"""Beginning of the names of the estimator's tensors in a checkpoint."""


def keep_plain_arguments(module: LightningModule, base: type) -> list[str]:
    """Keeps those arguments of a module for its checkpoints that these can hold.

    They are plain values, and the specifications of components that the command line made. To be called in the
    constructor of ``base``.

    Args:
        module: The module that is being made.
        base: The class of this package that it is, or is derived from.

    Returns:
        The names of the arguments that were given as other objects.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attribute .* is an instance of `nn.Module`")  # dropped below
        module.save_hyperparameters(logger=False)
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    objects = {name: value for name, value in module.hparams.items() if not isinstance(value, plain)}
    module.remove_ignored_hparams(list(objects))
    parameters = {**signature(base).parameters, **signature(type(module)).parameters}
    return [name for name, value in objects.items() if name not in parameters or value is not parameters[name].default]


def require_fitting_checkpoint(module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another architecture, or with weights that are not finite.

    Raises:
        ConfigurationError: Names or shapes of the tensors differ, or numbers are not finite.
    """
    own, saved = module.state_dict(), checkpoint["state_dict"]
    require_same_architecture(*({n: t for n, t in s.items() if not n.startswith(ESTIMATOR)} for s in (saved, own)))
    if {n for n in own if n.startswith(ESTIMATOR)} != {n for n in saved if n.startswith(ESTIMATOR)}:
        raise ConfigurationError(
            "the checkpoint is of another estimator, or of other trainable parameters; model.init_from takes its "
            "network alone"
        )
    for tensors in (saved, checkpoint.get("current_model_state", {})):  # the latter beside an average
        require_finite(tensors)
