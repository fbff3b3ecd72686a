"""Weights in files: checkpoints of runs, and safetensors of a network alone."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import is_archive, is_damaged

NETWORK = "network."
"""Prefix of the names of the network's tensors in a checkpoint."""
_CHECKSUM = "sha256"


def read_checkpoint(path: str | Path, *, weights_only: bool = True) -> dict[str, Any]:
    """Reads the checkpoint of a training run; its tensors stay in the file until they are used.

    Args:
        path: The checkpoint.
        weights_only: Whether objects other than tensors and plain values are refused.

    Raises:
        ConfigurationError: There is no such file, or it is damaged or no checkpoint.
    """
    content = read_content(path, weights_only=weights_only)
    if not (isinstance(content, dict) and _is_state(content)):
        raise ConfigurationError(f"{path} is no checkpoint of a training run")
    return content


def _is_state(content: dict[str, Any]) -> bool:
    state = content.get("state_dict")
    return isinstance(state, Mapping) and all(isinstance(name, str) for name in state)


def read_content(path: str | Path, *, weights_only: bool = True, map_location: Any = "cpu", mapped: bool = True) -> Any:
    """Reads a file of ``torch.save``.

    Args:
        path: The file.
        weights_only: Whether objects other than tensors and plain values are refused.
        map_location: Where the tensors go, as in ``torch.load``.
        mapped: Whether tensors stay in the file until they are used.

    Raises:
        ConfigurationError: There is no such file, or it is damaged.
    """
    _require_file(path)
    try:
        if is_damaged(Path(path)):
            raise ConfigurationError(f"{path} is damaged: bytes are missing, or are not those that were written")
        mapped &= is_archive(Path(path))
        return torch.load(path, mmap=mapped, map_location=map_location, weights_only=weights_only)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ConfigurationError:
        raise
    except Exception as error:  # whatever unpickling somebody else's bytes may raise
        if foreign := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            what = f"holds an object of {foreign[1]}, which a checkpoint of tensors and plain values does not"
        else:
            what = "is damaged or no checkpoint"
        raise ConfigurationError(f"{path} {what}") from error


def require_of_run(path: str | Path, checkpoint: Mapping[str, Any], *, resumable: bool) -> None:
    """Refuses what Lightning does not take for a checkpoint.

    Args:
        path: The checkpoint.
        checkpoint: Its content.
        resumable: Whether training is to go on from it.

    Raises:
        ConfigurationError: It holds weights alone.
    """
    parts = ("loops", "callbacks", "optimizer_states", "lr_schedulers") if resumable else ()
    if missing := [key for key in ("pytorch-lightning_version", *parts) if key not in checkpoint]:
        raise ConfigurationError(
            f"{path} holds weights alone, without {', '.join(missing)}; a fit takes them as model.init_from"
        )


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
    """Returns tensors from a file in the types of one's own.

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
    if Path(path).is_dir():
        raise ConfigurationError(f"{path} is a directory; a checkpoint is a file, in checkpoints of a run's directory")
    if not Path(path).is_file():
        raise ConfigurationError(f"there is no checkpoint {path}")


def as_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the content of a ``.safetensors`` file, with a checksum that :func:`read_tensors` checks."""
    # Copies, because the format refuses tensors that share memory.
    copies = {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}
    return save(copies, metadata={_CHECKSUM: _checksum(copies)})


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    _require_file(path)
    try:
        with safe_open(path, "pt") as file:
            checksum = (file.metadata() or {}).get(_CHECKSUM)
        tensors = load_file(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of the package, and of PyTorch where a header asks for what it has not
        raise ConfigurationError(f"{path} is damaged or no file of safetensors") from error
    if checksum not in (None, _checksum(tensors)):
        raise ConfigurationError(f"{path} is damaged: bytes are not those that were written")
    return tensors


def _read_network(path: str | Path) -> dict[str, Tensor]:
    state = _tensors(read_checkpoint(path)["state_dict"])
    return {name.removeprefix(NETWORK): tensor for name, tensor in state.items() if name.startswith(NETWORK)}


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _shape(state: Mapping[str, Any], name: str) -> str:
    value = state.get(name)
    return str(tuple(value.shape)) if isinstance(value, Tensor) else "absent" if value is None else "no tensor"
