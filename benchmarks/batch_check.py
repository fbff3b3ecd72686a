"""Measures what the check of a batch costs, as a fraction of an IBP step of CNN3.

    python benchmarks/batch_check.py

Random weights and images of MNIST's shape, float32; a step is loss and gradient with GRAD, without data and optimizer.
Check and step are taken in turn in one process. One JSON line: ``step_cpu_ms`` and ``check_cpu_ms`` are medians,
``share`` is the median of check over step, ``deferred_share`` that of the check which notes on the device in place of
reading, here on the CPU.
"""

import argparse
import json
import os
import statistics
from operator import truediv

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import torch
from objectives import SHAPES, cases, step
from timing import cpu_ms

from gls_lightning.allocation import keep_freed_memory
from gls_lightning.batches import DeferredValues, read_batch, require_values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=256, help="images (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="that count (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()  # as gls does
    torch.set_num_threads(options.threads)
    shape, size = SHAPES["mnist"], options.batch_size
    batch = torch.rand(size, *shape), torch.randint(10, (size,)), torch.arange(size)
    deferred = DeferredValues()
    times = cpu_ms(
        {
            "step": step("CNN3", "mnist", size, cases(1)["IBP"]),
            "check": lambda: require_values(read_batch(batch, "train batch 0", shape), "train batch 0", 10),
            "deferred": lambda: deferred.note(read_batch(batch, "train batch 0", shape), "train batch 0", 10),
        },
        options.steps,
    )
    shares = {name: statistics.median(map(truediv, times[name], times["step"])) for name in ("check", "deferred")}
    result = {"network": "CNN3", "data": "mnist", "batch_size": size, "steps": options.steps}
    result |= {f"{name}_cpu_ms": round(statistics.median(times[name]), 3) for name in ("step", "check")}
    print(json.dumps(result | {"share": round(shares["check"], 5), "deferred_share": round(shares["deferred"], 5)}))


if __name__ == "__main__":
    main()
