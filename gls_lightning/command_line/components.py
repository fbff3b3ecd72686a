"""The kinds of components that a configuration names, their classes and the options of these."""

import inspect
import re
import sys
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gls_lightning.attacks import Attack
from gls_lightning.certification import Certifier
from gls_lightning.diagnostics import Direction
from gls_lightning.estimators import GradientEstimator
from gls_lightning.objectives import Objective, Regularizer
from gls_lightning.relaxations import Relaxation

KINDS: dict[type, str] = {
    Relaxation: "relaxation",
    GradientEstimator: "estimator",
    Objective: "objective",
    Regularizer: "regularizer",
    Attack: "attack",
    Certifier: "certifier",
    Direction: "direction",
    Callback: "callback",
    Logger: "logger",
    Strategy: "strategy",
    Profiler: "profiler",
    LightningDataModule: "data module",
    Optimizer: "optimizer",
    LRScheduler: "learning rate schedule",
    LightningModule: "training module",
    nn.Module: "network",
}
"""Words for the subclasses of a class; a class is of the first kind that fits."""
_LIBRARIES = ("torch", "torchvision", "torchmetrics", "lightning", "lightning_fabric", "pytorch_lightning")


def kind_of(cls: Any) -> type | None:
    """Finds the base class of the kind that a class is of."""
    return next((base for base in KINDS if isinstance(cls, type) and issubclass(cls, base)), None)


def imported(path: str) -> Any:
    """Finds what stands at an import path; None if its module is not imported."""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def article(noun: str) -> str:
    """Puts the indefinite article before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def components(base: type) -> dict[str, type]:
    """Finds the imported classes of a kind, by name; of networks not the layers of PyTorch and its companions."""
    found = {cls.__name__: cls for cls in _subclasses(base) if kind_of(cls) is base and _is_offered(cls)}
    return found if base is not nn.Module else {n: c for n, c in found.items() if _root(c) not in _LIBRARIES}


def _subclasses(base: Any) -> Iterator[type]:
    yield base
    for subclass in base.__subclasses__():
        yield from _subclasses(subclass)


def _root(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _is_offered(cls: type) -> bool:
    """Says whether a configuration may name it; of this package, what its parts export."""
    if inspect.isabstract(cls) or cls.__name__.startswith("_") or (cls in KINDS and cls is not Certifier):
        return False
    if _root(cls) != "gls_lightning":
        return "._" not in f".{cls.__module__}" or _root(cls) in _LIBRARIES
    package = ".".join(cls.__module__.split(".")[:2])
    internal: Collection[str] = getattr(sys.modules.get(package), "INTERNAL", ())
    exported = [getattr(sys.modules.get(name), "__all__", ()) for name in ("gls_lightning", package)]
    return cls.__name__ not in internal and any(cls.__name__ in names for names in exported)


def expected_kind(hint: str, owner: str, key: str) -> type | None:
    """Finds the kind of component that is expected for a key.

    Args:
        hint: The types that are expected, as jsonargparse writes them; may be empty.
        owner: Path of the class that has the argument; may be empty.
        key: The key.
    """
    named = (kind_of(imported(path)) for path in re.findall(r"\w+(?:\.\w+)+", hint))
    if kinds := [kind for kind in named if kind is not None]:
        return kinds[-1]  # of a function's types the last one is that of its result
    words = str(_annotation(imported(owner), key.rpartition(".")[2])) if owner else ""
    return expected_kind(words, "", key) if words else None


def _annotation(owner: Any, argument: str) -> Any:
    """Finds how the class, or the nearest one that it derives from, annotates an argument."""
    for cls in getattr(owner, "__mro__", ()):
        if argument in (hints := get_type_hints(cls.__init__)):
            return (hints[argument],)
    return ""


@cache
def options_of(cls: type) -> tuple[str, ...]:
    """Lists the names of the options of a class, with those that it passes on to others."""
    parser = ArgumentParser(exit_on_error=False)
    filled_in = {1} if issubclass(cls, Optimizer | LRScheduler) else set[int | str]()
    try:
        return tuple(parser.add_class_arguments(cls, skip=filled_in))
    except (ValueError, TypeError):  # one that no configuration can name
        return ()


def kind_named(name: str) -> type | None:
    """Finds the kind of the component of this name, if there is one; a common layer is a network."""
    kinds = {cls.__name__: nn.Module for cls in (nn.ReLU, nn.Linear, nn.Conv2d, nn.Sequential)}
    return (kinds | {known: kind for kind in reversed(KINDS) for known in components(kind)}).get(name)
