"""Measures populations of perturbed networks: PGPE evaluated by vmap against one by one, and RGS against GRAD.

    python benchmarks/population.py
    python benchmarks/population.py --cases pgpe --networks CNN3Tiny --batch-size 16

MNIST's shapes, random weights and images, DeepPoly, epsilon 0.1, float32. All variants take their steps in turn in one
process. One JSON line per case:

* ``pgpe``: CPU milliseconds for the loss of one member on one image, for each number of members that one
  ``torch.func.vmap`` takes (1 is the loop), and for the convolutions and matrix products of the loop alone;
  ``default`` is the number that ``gls`` takes here.
* ``rgs``: what a step of RGS with two members costs, as a multiple of a step of GRAD; median over the pairs of steps.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from operator import truediv
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import torch
from timing import cpu_ms
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning import networks
from gls_lightning.allocation import keep_freed_memory
from gls_lightning.bounds import trace
from gls_lightning.estimators import PGPE, RGS, Backprop, GradientEstimator, Step, members_at_once
from gls_lightning.objectives import Batch, Certified
from gls_lightning.relaxations import DeepPoly
from gls_lightning.training.loss import TrainingLoss

NUM_CLASSES = 10
PRODUCTS = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
}
NETWORKS = {"pgpe": ["CNN3Tiny", "CNN3"], "rgs": ["CNN3", "CNN5"]}
BATCH_SIZES = {"CNN3Tiny": 128, "CNN3": 128, "CNN5": 8}


class Recorded(TorchDispatchMode):
    """Keeps every product that is taken, to take it again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def replay(self) -> None:
        """Takes all of them once more."""
        with torch.no_grad():
            for func, args, kwargs in self.calls:
                func(*args, **kwargs)


def training_loss(network: str, batch_size: int) -> tuple[TrainingLoss, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    module = getattr(networks, network)(initialization="default")
    images, labels = torch.rand(batch_size, 1, 28, 28), torch.randint(NUM_CLASSES, (batch_size,))
    batch, params = Batch(images, labels, torch.tensor(0.1)), dict(module.named_parameters())
    names = {name: name for name in params}
    return TrainingLoss(trace(module, images.shape[1:]), DeepPoly(), Certified(), params, names, batch), params


def measure_pgpe(network: str, batch_size: int, population_size: int, steps: int) -> dict[str, Any]:
    loss, params = training_loss(network, batch_size)
    default = members_at_once(loss, None, population_size)
    variants: dict[Any, Callable[[], object]] = {}
    for chunk in sorted({1, 2, 8, default}):
        estimator = PGPE(population_size=population_size, chunk_size=chunk)
        variants[chunk] = lambda estimator=estimator: estimator(loss, params, Step(0, 0))
    with torch.no_grad(), Recorded() as recorded:
        loss({name: p.detach() for name, p in params.items()})
    variants["products"] = lambda: [recorded.replay() for _ in range(population_size)]
    times = {name: statistics.median(values) for name, values in cpu_ms(variants, steps).items()}
    return {"default": default} | {
        f"{name}_cpu_ms": round(value / batch_size / population_size, 4) for name, value in times.items()
    }


def measure_rgs(network: str, batch_size: int, steps: int) -> dict[str, Any]:
    loss, params = training_loss(network, batch_size)
    estimators: dict[Any, GradientEstimator] = {"grad": Backprop(), "rgs": RGS(population_size=2)}
    variants = {name: lambda e=e: e(loss, params, Step(0, 0)).loss.backward() for name, e in estimators.items()}
    times = cpu_ms(variants, steps)
    result = {f"{name}_cpu_ms": round(statistics.median(values) / batch_size, 4) for name, values in times.items()}
    return result | {"ratio": round(statistics.median(map(truediv, times["rgs"], times["grad"])), 3)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--networks", nargs="+", choices=list(BATCH_SIZES), help=f"default: {NETWORKS}")
    parser.add_argument("--populations", nargs="+", type=int, default=[64], help="of PGPE (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help=f"images per step (default: {BATCH_SIZES})")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of each variant that count (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    keep_freed_memory()  # as gls does
    torch.set_num_threads(options.threads)
    for case in options.cases:
        for network in options.networks or NETWORKS[case]:
            batch_size = options.batch_size or BATCH_SIZES[network]
            about = {"case": case, "network": network, "batch_size": batch_size, "threads": options.threads}
            if case == "rgs":
                print(json.dumps(about | measure_rgs(network, batch_size, options.steps)), flush=True)
                continue
            for population_size in options.populations:
                result = measure_pgpe(network, batch_size, population_size, options.steps)
                print(json.dumps(about | {"population_size": population_size} | result), flush=True)


if __name__ == "__main__":
    main()
