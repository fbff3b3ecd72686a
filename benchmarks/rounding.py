"""Measures what a bound costs that accounts for its own rounding errors, as certification's do.

    python benchmarks/rounding.py

Random weights and images of MNIST's shape, float64, epsilon 0.1, no gradients; each bound plain and rigorous, in turn
in one process. One JSON line for each network and relaxation: ``plain_cpu_ms`` is a median, ``ratio`` the median of
rigorous over plain, ``given_away`` the largest difference of the two bounds of a margin.
"""

import argparse
import json
import os
import statistics
from operator import truediv

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import torch
from timing import cpu_ms

from gls_lightning.allocation import keep_freed_memory
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.networks import CNN3, CNN5
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation

RELAXATIONS: dict[str, Relaxation] = {
    "IBP": IBP(),
    "HBox": HBox(),
    "CROWNIBP": CROWNIBP(),
    "DeepPoly": DeepPoly(),
    "AlphaCROWN": AlphaCROWN(steps=2),
}
SHAPE = (1, 28, 28)


@torch.no_grad()
def measure(network: type[torch.nn.Module], name: str, batch_size: int, steps: int) -> dict[str, object]:
    torch.manual_seed(0)
    net = network(input_shape=SHAPE, num_classes=10).double()
    graph, tensors, relaxation = trace(net, SHAPE), dict(net.state_dict()), RELAXATIONS[name]
    box = Box.around(torch.rand(batch_size, *SHAPE).double(), 0.1)
    margins = margin_specification(torch.randint(10, (batch_size,)), 10, torch.float64)
    graphs = {"plain": graph, "rigorous": graph.rigorously()}
    bounds = {kind: relaxation(g, tensors, box, margins) for kind, g in graphs.items()}
    times = cpu_ms({k: lambda g=g: relaxation(g, tensors, box, margins) for k, g in graphs.items()}, steps)
    return {
        "network": network.__name__,
        "relaxation": name,
        "batch_size": batch_size,
        "plain_cpu_ms": round(statistics.median(times["plain"]), 2),
        "ratio": round(statistics.median(map(truediv, times["rigorous"], times["plain"])), 3),
        "given_away": float(f"{(bounds['plain'] - bounds['rigorous']).max():.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=100, help="images (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=9, help="that count (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()  # as gls does
    torch.set_num_threads(options.threads)
    for network in (CNN3, CNN5):
        for name in RELAXATIONS:
            if network is CNN3 or name in ("IBP", "CROWNIBP"):  # a step of the others takes half a minute
                print(json.dumps(measure(network, name, options.batch_size, options.steps)), flush=True)


if __name__ == "__main__":
    main()
