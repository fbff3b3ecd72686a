"""Measures bounds and their gradients (IBP, CROWN-IBP, DeepPoly) against the dense ones of ``dense_baseline.py``.

    python benchmarks/bounds.py
    python benchmarks/bounds.py --networks CNN3 --methods DeepPoly --checkpoint weights.safetensors --mnist data

One step bounds the margins of every wrong class (9 rows per image), takes the robust cross-entropy and its gradient
with respect to every weight; float32. Both sides get the same weights, images and boxes, and take their steps in turn
in one process, so that a machine that others use too slows both. One JSON line per network and method:

* ``ours_cpu_ms``, ``baseline_cpu_ms``, and the same with ``wall``: medians over the steps, milliseconds per image. CPU
  time sums over the threads; on a busy machine trust it rather than wall time.
* ``cpu_ratio``, ``wall_ratio``: medians of the baseline's time over ours, step by step.
* ``ours_memory_mib``, ``baseline_memory_mib``: how much a process that takes one step grows beyond one that only
  imported the libraries.
* ``difference``: the largest absolute difference between a bound of ours and the baseline's.

Everything takes about ten minutes and 5 GB of memory, nearly all of it for DeepPoly.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from operator import truediv
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import dense_baseline
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from gls_lightning import networks, relaxations
from gls_lightning.allocation import keep_freed_memory
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.data import MNIST

METHODS = {"IBP": dense_baseline.ibp, "CROWNIBP": dense_baseline.crown_ibp, "DeepPoly": dense_baseline.deeppoly}
BATCH_SIZES = {"CNN3": 128, "CNN5": 32}
NUM_CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network, a relaxation and sizes to measure."""

    network: str
    method: str
    batch_size: int
    epsilon: float
    threads: int
    steps: int
    checkpoint: str | None
    mnist: str | None


def build_network(case: Case) -> nn.Sequential:
    network: nn.Sequential = getattr(networks, case.network)(initialization="default")
    if case.checkpoint is not None:
        network.load_state_dict(load_file(case.checkpoint))
    return network


def load_images(case: Case) -> tuple[Tensor, Tensor]:
    if case.mnist is None:
        return torch.rand(case.batch_size, 1, 28, 28), torch.randint(NUM_CLASSES, (case.batch_size,))
    images, labels = MNIST(root=case.mnist).load(train=False)
    return images[: case.batch_size] / 255, labels[: case.batch_size]


def both_sides(case: Case) -> dict[str, Callable[[], Tensor]]:
    """For each side a function that takes one step and returns the lower bounds ``[batch_size, 9]`` of the margins."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    network = build_network(case)
    images, labels = load_images(case)
    box, specification = Box.around(images, case.epsilon), margin_specification(labels, NUM_CLASSES).to(images)
    relaxation, graph = getattr(relaxations, case.method)(), trace(network, images.shape[1:])
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())

    def step(bounds: Callable[[], Tensor]) -> Tensor:
        lower = bounds()
        robust_cross_entropy = F.softplus(torch.logsumexp(-lower, dim=1)).mean()
        torch.autograd.grad(robust_cross_entropy, list(network.parameters()))
        return lower.detach()

    return {
        "ours": lambda: step(lambda: relaxation(graph, tensors, box, specification)),
        "baseline": lambda: step(lambda: METHODS[case.method](network, dense_baseline.Box(*box), specification)),
    }


def mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(case: Case, side: str) -> float:
    """Growth of a fresh process that takes one step, in MiB."""
    imported = mebibytes()
    both_sides(case)[side]()
    return mebibytes() - imported


def measure_times(case: Case) -> dict[str, float]:
    """Times of both sides in turn, the first step of each not counted."""
    sides = both_sides(case)
    difference = (sides["ours"]() - sides["baseline"]()).abs().max().item()
    times: dict[str, list[float]] = {f"{side}_{clock}_ms": [] for side in sides for clock in CLOCKS}
    for _ in range(case.steps):
        for side, step in sides.items():
            starts = {clock: now() for clock, now in CLOCKS.items()}
            step()
            for clock, now in CLOCKS.items():
                times[f"{side}_{clock}_ms"].append(1e3 * (now() - starts[clock]) / case.batch_size)
    ratios = {
        f"{clock}_ratio": statistics.median(map(truediv, times[f"baseline_{clock}_ms"], times[f"ours_{clock}_ms"]))
        for clock in CLOCKS
    }
    return {name: statistics.median(values) for name, values in times.items()} | ratios | {"difference": difference}


CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


def apart(function: Callable[..., Any], *values: object) -> Any:
    """Calls the function in a process forked from this one, which never computes."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(function, *values).result()


def measure(case: Case) -> None:
    result = apart(measure_times, case)
    result |= {f"{side}_memory_mib": apart(measure_memory, case, side) for side in ("ours", "baseline")}
    print(json.dumps(asdict(case) | {name: float(f"{value:.4g}") for name, value in result.items()}), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(BATCH_SIZES), default=list(BATCH_SIZES))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--batch-size", type=int, help=f"images per step (default: {BATCH_SIZES})")
    parser.add_argument("--epsilon", type=float, default=0.1, help="radius of the boxes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of each side that count (default: %(default)s)")
    parser.add_argument("--checkpoint", help="safetensors of the network's weights (default: PyTorch's random ones)")
    parser.add_argument("--mnist", help="folder with MNIST, for its first test images (default: uniform noise)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    keep_freed_memory()  # as gls does
    for network in options.networks:
        for method in options.methods:
            case = Case(
                network=network,
                method=method,
                batch_size=options.batch_size or BATCH_SIZES[network],
                epsilon=options.epsilon,
                threads=options.threads,
                steps=options.steps,
                checkpoint=options.checkpoint,
                mnist=options.mnist,
            )
            measure(case)


if __name__ == "__main__":
    main()
