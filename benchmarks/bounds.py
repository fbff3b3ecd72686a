"""Measures bounds and their gradients (IBP, CROWN-IBP, DeepPoly) against the dense ones of ``dense_baseline.py``.

    python benchmarks/bounds.py
    python benchmarks/bounds.py --networks CNN3 --methods DeepPoly --checkpoint weights.safetensors --mnist data

One step bounds the margins of every wrong class (9 rows per image), takes the robust cross-entropy and its gradient
with respect to every weight; float32. Both sides get the same weights, images and boxes. One JSON line per measurement:

* ``cpu_ms``, ``wall_ms``: medians over the steps, in milliseconds per image. CPU time sums over the threads; on a busy
  machine trust it rather than wall time.
* ``memory_mib``: how much the largest resident size exceeds that of a process that only imported the libraries. Each
  measurement has a process of its own, forked from this one, which never computes.

and per network and method one line with ``cpu_ratio`` and ``wall_ratio``, the baseline's medians over ours, and
``difference``, the largest absolute difference between a bound of ours and the baseline's.

Everything takes a few minutes and 5 GB of memory, nearly all of it for DeepPoly.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import dense_baseline
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from gls_lightning import networks, relaxations
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.data import MNIST

METHODS = {"IBP": dense_baseline.ibp, "CROWNIBP": dense_baseline.crown_ibp, "DeepPoly": dense_baseline.deeppoly}
BATCH_SIZES = {"CNN3": 128, "CNN5": 32}
NUM_CLASSES = 10


@dataclass(frozen=True)
class Case:
    """One measurement; ``implementation`` is ``gls_lightning`` or ``baseline``."""

    network: str
    method: str
    implementation: str
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


def margin_bounds(case: Case, network: nn.Sequential) -> Callable[[], Tensor]:
    """What is measured: a function that gives the lower bounds [batch_size, 9] of the margins."""
    images, labels = load_images(case)
    box, specification = Box.around(images, case.epsilon), margin_specification(labels, NUM_CLASSES).to(images)
    if case.implementation == "baseline":
        return lambda: METHODS[case.method](network, dense_baseline.Box(*box), specification)
    relaxation = getattr(relaxations, case.method)()
    graph = trace(network, images.shape[1:])
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    return lambda: relaxation(graph, tensors, box, specification)


def mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: Case) -> tuple[dict[str, float], list[list[float]]]:
    """The measurements and the bounds of one case; to be run in a fresh process."""
    imported = mebibytes()
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    network = build_network(case)
    bounds = margin_bounds(case, network)
    cpu, wall = [], []
    for _ in range(case.steps):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        lower = bounds()
        robust_cross_entropy = F.softplus(torch.logsumexp(-lower, dim=1)).mean()
        torch.autograd.grad(robust_cross_entropy, list(network.parameters()))
        cpu.append(1e3 * (time.process_time() - cpu_start) / case.batch_size)
        wall.append(1e3 * (time.perf_counter() - wall_start) / case.batch_size)
    warm = slice(1 if case.steps > 1 else 0, None)
    measured = {
        "cpu_ms": statistics.median(cpu[warm]),
        "wall_ms": statistics.median(wall[warm]),
        "memory_mib": mebibytes() - imported,
    }
    return measured, lower.tolist()


def measure_apart(case: Case) -> tuple[dict[str, float], Tensor]:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        measured, bounds = process.submit(measure, case).result()
    print(json.dumps(asdict(case) | {name: round(value, 4) for name, value in measured.items()}), flush=True)
    return measured, torch.tensor(bounds)


def compare(case: Case, baseline_steps: int) -> None:
    ours, our_bounds = measure_apart(case)
    baseline, baseline_bounds = measure_apart(replace(case, implementation="baseline", steps=baseline_steps))
    ratios = {
        "network": case.network,
        "method": case.method,
        "batch_size": case.batch_size,
        "cpu_ratio": round(baseline["cpu_ms"] / ours["cpu_ms"], 2),
        "wall_ratio": round(baseline["wall_ms"] / ours["wall_ms"], 2),
        "difference": (our_bounds - baseline_bounds).abs().max().item(),
    }
    print(json.dumps(ratios), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(BATCH_SIZES), default=list(BATCH_SIZES))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--batch-size", type=int, help=f"images per step (default: {BATCH_SIZES})")
    parser.add_argument("--epsilon", type=float, default=0.1, help="radius of the boxes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=7, help="of ours; the first is not counted (default: %(default)s)")
    parser.add_argument("--baseline-steps", type=int, default=3, help="of the baseline (default: %(default)s)")
    parser.add_argument("--checkpoint", help="safetensors of the network's weights (default: PyTorch's random ones)")
    parser.add_argument("--mnist", help="folder with MNIST, for its first test images (default: uniform noise)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    for network in options.networks:
        for method in options.methods:
            case = Case(
                network=network,
                method=method,
                implementation="gls_lightning",
                batch_size=options.batch_size or BATCH_SIZES[network],
                epsilon=options.epsilon,
                threads=options.threads,
                steps=options.steps,
                checkpoint=options.checkpoint,
                mnist=options.mnist,
            )
            compare(case, options.baseline_steps)


if __name__ == "__main__":
    main()
