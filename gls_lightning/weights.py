"""Weights in files: checkpoints of runs, and safetensors of a network alone."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gls_lightning.errors import ConfigurationError

NETWORK = "network."
"""What precedes the names of the network's tensors in a checkpoint."""


def read_checkpoint(path: str | Path, *, weights_only: bool = True) -> dict[str, Any]:
    """Reads a checkpoint; its tensors stay in the file until they are used.

    Args:
        path: The checkpoint.
        weights_only: Whether objects other than tensors and plain values are refused.

    Raises:
        ConfigurationError: There is no such file, or it is damaged or no checkpoint.
    """
    _require_file(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=weights_only)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ConfigurationError(f"{path} is damaged or no checkpoint") from error
    if not (isinstance(content, dict) and "state_dict" in content):
        raise ConfigurationError(f"{path} is no checkpoint of a training run")
    return content


def read_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """Reads parameters and buffers for a network, which stays as it is.

    Args:
        path: The checkpoint of a run, of which only the network's tensors are taken, or a file of these tensors alone
            whose name ends in ``.safetensors``.
        network: Has the same tensors: the same names and shapes.

    Returns:
        The tensors under the network's own names and in its types, on the CPU.

    Raises:
        ConfigurationError: There is no such file, it is damaged, it is of another architecture, or numbers in it are
            not finite.
    """
    return as_of(_tensors(network.state_dict()), path, read_tensors(path))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a network by their names in it; see :func:`read_weights`.

    Raises:
        ConfigurationError: There is no such file, or it is damaged.
    """
    return _read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_network(path)


def as_of(own: Mapping[str, Tensor], path: str | Path, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors from a file in the types of one's own.

    Args:
        own: One's own tensors by name.
        path: The file.
        saved: Its tensors.

    Raises:
        ConfigurationError: Names or shapes differ, or numbers are not finite.
    """
    require_same_architecture(saved, own, checkpoint=str(path))
    weights = {name: tensor.to(own[name].dtype) for name, tensor in saved.items()}
    require_finite(weights, checkpoint=str(path))
    return weights


def require_finite(saved: Mapping[str, Any], *, checkpoint: str = "the checkpoint") -> None:
    """Refuses tensors with numbers that are not finite.

    Args:
        saved: The tensors by their names; what is no tensor is passed over.
        checkpoint: What the message calls the checkpoint.

    Raises:
        ConfigurationError: There are such numbers.
    """
    if wrong := [name for name, tensor in _tensors(saved).items() if not tensor.isfinite().all()]:
        raise ConfigurationError(f"{checkpoint} holds numbers that are not finite, in {', '.join(wrong[:3])}")


def require_same_architecture(
    saved: Mapping[str, Any], own: Mapping[str, Any], *, checkpoint: str = "the checkpoint"
) -> None:
    """Refuses tensors of another architecture.

    Args:
        saved: The tensors of the checkpoint by their names.
        own: Those of the model.
        checkpoint: What the message calls the checkpoint.

    Raises:
        ConfigurationError: Names or shapes differ.
    """
    different = [
        f"{name} is {_shape(saved, name)} in the checkpoint and {_shape(own, name)} in the model"
        for name in dict.fromkeys([*own, *saved])
        if _shape(saved, name) != _shape(own, name)
    ]
    if different:
        raise ConfigurationError(
            f"{checkpoint} is of another architecture, {len(different)} tensors differ: " + "; ".join(different[:3])
        )


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise ConfigurationError(f"there is no checkpoint {path}")


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    _require_file(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigurationError(f"{path} is damaged or no file of safetensors") from error


def _read_network(path: str | Path) -> dict[str, Tensor]:
    state = _tensors(read_checkpoint(path)["state_dict"])
    return {name.removeprefix(NETWORK): tensor for name, tensor in state.items() if name.startswith(NETWORK)}


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _shape(state: Mapping[str, Any], name: str) -> str:
    return str(tuple(state[name].shape)) if name in state else "absent"
