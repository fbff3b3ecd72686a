"""Fingerprints: records belong together if they are of the same network, radius and test set."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import torch
from torch import Tensor

from gls_lightning.bounds import Graph, OpaqueGraph, Tensors
from gls_lightning.version import __version__

Fingerprint = Mapping[str, str | int | float]
"""The network, radius and test set that verdicts depend on; records with equal fingerprints may be merged."""

_FORMAT = 2
"""Version of the format of record files."""


def fingerprint(
    graph: Graph, tensors: Tensors, epsilon: float, dataset: str, batches: Iterable[tuple[Tensor, Tensor]]
) -> Fingerprint:
    """Computes the fingerprint of a network, a radius and a test set.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        epsilon: Radius.
        dataset: Name of the data set.
        batches: The images ``[B, *input]`` and labels ``[B]`` of the whole test set, in its order.
    """
    architecture = sha256(repr(graph.network if isinstance(graph, OpaqueGraph) else graph).encode())
    images, labels, number = sha256(), sha256(), 0
    for x, y in batches:
        if isinstance(graph, OpaqueGraph) and not number:  # its text does not show its operations
            architecture.update(_bytes(graph(tensors, x.to(next(iter(tensors.values()), x)))))
        images.update(_bytes(x))
        labels.update(_bytes(y))
        number += len(y)
    return {
        "format": _FORMAT,
        "version": __version__,
        "architecture": architecture.hexdigest(),
        "weights": _hash_of_tensors(tensors),
        "epsilon": epsilon,
        "dataset": dataset,
        "test_images": number,
        "images": images.hexdigest(),
        "labels": labels.hexdigest(),
        "classes": graph.num_outputs,
    }


def differences(theirs: Mapping[str, object], ours: Fingerprint) -> str:
    """Says in which values two fingerprints differ; empty if they are equal."""
    keys = [key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key)]
    return ", ".join(f"{key} ({_short(theirs.get(key))} there, {_short(ours.get(key))} here)" for key in keys)


def _hash_of_tensors(tensors: Tensors) -> str:
    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _short(value: object) -> str:
    return str(value).encode("unicode_escape").decode()[:12]  # a value from a file may hold line breaks
