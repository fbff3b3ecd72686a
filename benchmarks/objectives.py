"""Measures what a training step of each objective costs, as a multiple of a step of IBP.

    python benchmarks/objectives.py
    python benchmarks/objectives.py --networks CNN3 --restarts 1

Random weights and images of the data set's shape, GRAD, float32; loss and gradient, without data and optimizer. SABR,
STAPS and TAPS bound with IBP, and all attacks take 10 steps. All objectives take their steps in turn in one process.
One JSON line per network and data set: ``ibp_cpu_ms`` per image, and for each objective the median ratio; ``paper``
holds the ratios of the training times in the paper's Table 11.
"""

import argparse
import json
import os
import statistics
from operator import truediv
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import torch
from timing import cpu_ms

from gls_lightning import networks
from gls_lightning.allocation import keep_freed_memory
from gls_lightning.attacks import PGD
from gls_lightning.bounds import trace
from gls_lightning.estimators import Backprop, Step
from gls_lightning.objectives import (
    CCIBP,
    EXPIBP,
    MTLIBP,
    SABR,
    STAPS,
    TAPS,
    Adversarial,
    Batch,
    Certified,
    Objective,
    Regularizer,
    ShiRegularizer,
    Standard,
)
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation
from gls_lightning.training.loss import TrainingLoss

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
EPSILONS = {"mnist": 0.1, "cifar10": 2 / 255}
PAPER = {
    "mnist": {"PGD": 1.5, "SABR": 2.0, "STAPS": 2.5, "MTL-IBP": 4.0},
    "cifar10": {"PGD": 1.5, "SABR": 2.0, "STAPS": 2.5, "MTL-IBP": 3.17},
}


Case = tuple[Objective, Relaxation, list[Regularizer]]


def cases(restarts: int) -> dict[str, Case]:
    """Returns the objectives to compare, by their names in tables."""
    attack = PGD(steps=10, restarts=restarts)
    latent = PGD(steps=10, restarts=restarts, step_size=0.4, loss="margin", step_decay="taps")
    ibp = IBP()
    return {
        "IBP": (Certified(), ibp, []),
        "standard": (Standard(), ibp, []),
        "IBP + Shi": (Certified(), ibp, [ShiRegularizer()]),
        "PGD": (Adversarial(attack=attack), ibp, []),
        "SABR": (SABR(attack=attack), ibp, []),
        "TAPS": (TAPS(latent_attack=latent), ibp, []),
        "STAPS": (STAPS(attack=attack, latent_attack=latent), ibp, []),
        "MTL-IBP": (MTLIBP(alpha=0.02, attack=attack), ibp, []),
        "CC-IBP": (CCIBP(alpha=0.02, attack=attack), ibp, []),
        "Exp-IBP": (EXPIBP(alpha=0.02, attack=attack), ibp, []),
        "CROWN-IBP": (Certified(), CROWNIBP(), []),
        "CROWN-IBP-LF": (Certified(loss_fusion=True), CROWNIBP(), []),
        "DeepPoly": (Certified(), DeepPoly(), []),
    }


def step(network: str, data: str, batch_size: int, case: Case) -> Any:
    """Takes one step of GRAD on this objective."""
    torch.manual_seed(0)
    objective, relaxation, regularizers = case
    module = getattr(networks, network)(input_shape=SHAPES[data], initialization="ibp")
    graph, params = trace(module, SHAPES[data]), dict(module.named_parameters())
    images, labels = torch.rand(batch_size, *SHAPES[data]), torch.randint(10, (batch_size,))
    starts = objective.draw_starts(graph, torch.arange(batch_size), 0, 0)
    batch = Batch(images, labels, torch.tensor(EPSILONS[data]), starts)._replace(progress=0.5 if regularizers else 1.0)
    names = {name: name for name in params}
    loss = TrainingLoss(graph, relaxation, objective, params, names, batch, regularizers)
    return lambda: Backprop()(loss, params, Step(0, 0)).loss.backward()


def measure(network: str, data: str, batch_size: int, restarts: int, steps: int, only: list[str]) -> dict[str, Any]:
    """The ratios of one network and data set."""
    chosen = {name: case for name, case in cases(restarts).items() if name == "IBP" or name in only or not only}
    times = cpu_ms({name: step(network, data, batch_size, case) for name, case in chosen.items()}, steps)
    ratios = {name: round(statistics.median(map(truediv, times[name], times["IBP"])), 2) for name in times}
    return {"ibp_cpu_ms": round(statistics.median(times["IBP"]) / batch_size, 4)} | ratios | {"paper": PAPER[data]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["CNN3", "CNN5"])
    parser.add_argument("--data", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--only", nargs="+", default=[], help="objectives, by their names in tables; default: all")
    parser.add_argument("--restarts", type=int, default=3, help="of every attack (default: %(default)s, as CTBench)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of each objective that count (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()  # as gls does
    torch.set_num_threads(options.threads)
    for network in options.networks:
        for data in options.data:
            about = {"network": network, "data": data, "batch_size": options.batch_size, "restarts": options.restarts}
            sizes = options.batch_size, options.restarts, options.steps
            print(json.dumps(about | measure(network, data, *sizes, options.only)), flush=True)


if __name__ == "__main__":
    main()
