"""Measures branch and bound on the samples that no cheaper stage decides, against a mixed-integer program.

    python benchmarks/certification.py --checkpoints benchmarks/checkpoints/cnn3_tiny_dp_pgpe --mnist data

The first test images of MNIST go through attack, IBP, CROWN-IBP, DeepPoly and alpha-CROWN; what they leave undecided is
decided by branch and bound, all samples together, and by HiGHS's mixed-integer solver, one margin after the other, with
a binary variable for each unstable ReLU and the same bounds of the ReLU inputs. Both run in one process. One JSON line
per checkpoint:

* ``hard``: number of samples that are left, of ``images``; ``decided`` and ``milp_decided`` in the time limit.
* ``mean_s``, ``median_s``, ``longest_s``, and the same with ``milp``: CPU seconds per hard sample.
* ``ratio``: the mixed-integer solver's time over that of branch and bound, both in total.
* ``subdomains``: those that branch and bound examined, in total.

Verdicts that contradict each other end the benchmark with an error.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would be counted as CPU time

import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, csr_array, diags_array
from torch import Tensor

from gls_lightning import networks
from gls_lightning.allocation import keep_freed_memory
from gls_lightning.bounds import Box, Graph, Tensors, margin_specification, trace
from gls_lightning.certification import BranchAndBound, Certifier, Record, Verdict
from gls_lightning.data import MNIST
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly


def read_network(checkpoint: Path) -> tuple[Graph, Tensors]:
    """The network of ``<checkpoint>.yaml`` with the weights of ``<checkpoint>.safetensors``, in float64."""
    content = yaml.safe_load(checkpoint.with_suffix(".yaml").read_text())["model"]["init_args"]["network"]
    network = getattr(networks, content["class_path"].rpartition(".")[2])(**content["init_args"])
    network.load_state_dict(load_file(checkpoint.with_suffix(".safetensors")))
    network = network.double()
    return trace(network, content["init_args"]["input_shape"]), dict(network.state_dict())


def affine_parts(graph: Graph, tensors: Tensors) -> list[tuple[csr_array, np.ndarray]]:
    """Matrix and constant of what a plain network computes before, between and behind its ReLUs."""
    parts, shape, nodes = [], graph.input_shape, []
    for node in (*graph.nodes, None):
        if node is not None and node.name not in graph.relus:
            nodes.append(node)
            continue
        size = shape.numel()
        values = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().view(-1, *shape)
        for each in nodes:
            values = each.operation.evaluate(tensors, values)
        shape, values = values.shape[1:], values.flatten(1)
        parts.append((csr_array((values[1:] - values[0]).mT.numpy()), values[0].numpy()))
        nodes = []
    return parts


def solve_program(
    parts: list[tuple[csr_array, np.ndarray]], box: Box, relu_boxes: list[Box], row: np.ndarray, limit: float
) -> bool | None:
    """Says whether ``row @ logits`` is at most 0 at some point of the box; None if the time is over.

    Variables are the inputs, then the outputs and the switches (1 where active) of each layer of ReLUs.
    """
    (*hidden, (last, bias)), sizes = parts, [box.lower.numel()]
    low, high, whole = [box.lower.flatten().numpy()], [box.upper.flatten().numpy()], [np.zeros(sizes[0])]
    lines: list[tuple[list[Any], np.ndarray]] = []
    for number, ((weight, constant), relu_box) in enumerate(zip(hidden, relu_boxes, strict=True)):
        lower, upper = (side.flatten().numpy() for side in relu_box)
        source, size = max(0, 2 * number - 1), len(constant)
        one, nothing = diags_array(np.ones(size)), [None] * (2 * number + 1)
        before = [weight if block == source else None for block in range(2 * number + 1)]
        below = [-weight if block == source else None for block in range(2 * number + 1)]
        lines.append(([*before, -one, None], -constant))  # output >= input
        lines.append(([*below, one, diags_array(-np.minimum(lower, 0))], constant - np.minimum(lower, 0)))
        lines.append(([*nothing, one, diags_array(-np.maximum(upper, 0))], np.zeros(size)))
        low += [np.zeros(size), (lower >= 0).astype(float)]
        high += [np.maximum(upper, 0), (upper > 0).astype(float)]
        whole += [np.zeros(size), np.ones(size)]
        sizes += [size, size]
    goal = [None] * (len(sizes) - 2) + [csr_array(row[None] @ last.toarray()), None]
    lines.append((goal, -row[None] @ bias))
    rows = [blocks + [None] * (len(sizes) - len(blocks)) for blocks, _ in lines]
    result = milp(
        np.zeros(sum(sizes)),
        integrality=np.concatenate(whole),
        bounds=Bounds(np.concatenate(low), np.concatenate(high)),
        constraints=LinearConstraint(
            block_array(rows, format="csr"), ub=np.concatenate([limits for _, limits in lines])
        ),
        options={"time_limit": limit},
    )
    return {0: True, 2: False}.get(result.status)


def program_verdict(
    graph: Graph, tensors: Tensors, parts: list[tuple[csr_array, np.ndarray]], box: Box, label: Tensor, limit: float
) -> Verdict:
    """The verdict about one sample, margin by margin."""
    bounds = DeepPoly(skip_ibp_stable=True, intersect_ibp=True).preactivation_bounds(graph, tensors, box)
    rows = margin_specification(label, graph.num_outputs, torch.double)
    proven = DeepPoly(skip_ibp_stable=True, intersect_ibp=True)(graph, tensors, box, rows)[0] > 0
    deadline = time.process_time() + limit
    for row in rows[0][~proven]:
        left = max(deadline - time.process_time(), 0.01)
        reached = solve_program(parts, box, [bounds[name] for name in graph.relus], row.numpy(), left)
        if reached is None:
            return Verdict.UNKNOWN
        if reached:
            return Verdict.FALSIFIED
    return Verdict.CERTIFIED


def measure(checkpoint: Path, mnist: str, images: int, epsilon: float, limit: float) -> dict[str, Any]:
    """One line of the output."""
    graph, tensors = read_network(checkpoint)
    data = MNIST(root=mnist, test_size=images)
    data.setup("test")
    x, y, indices = data.test_set.__getitems__(list(range(images)))
    cheap = Certifier(relaxations=[IBP(), CROWNIBP(), DeepPoly(skip_ibp_stable=True), AlphaCROWN()])
    left = cheap.certify(graph, tensors, x, y, indices, epsilon)
    hard = torch.tensor([record.verdict is Verdict.UNKNOWN for record in left])
    search = Certifier(
        relaxations=[], use_attack=False, branch_and_bound=BranchAndBound(time_limit=limit), batch_size=len(x)
    )
    start = time.process_time()
    records = search.certify(graph, tensors, x[hard], y[hard], indices[hard], epsilon)
    busy = (time.process_time() - start) / sum(record.seconds for record in records)
    parts, verdicts, seconds = affine_parts(graph, tensors), [], []
    for image, label in zip(x[hard].double(), y[hard], strict=True):
        start = time.process_time()
        verdicts.append(program_verdict(graph, tensors, parts, Box.around(image[None], epsilon), label[None], limit))
        seconds.append(time.process_time() - start)
    for record, verdict in zip(records, verdicts, strict=True):
        if {record.verdict, verdict} == {Verdict.CERTIFIED, Verdict.FALSIFIED}:
            raise RuntimeError(f"image {record.index} is {record.verdict} here and {verdict} by the solver")
    return summary(records, [busy * record.seconds for record in records], verdicts, seconds)


def summary(
    records: list[Record], seconds: list[float], verdicts: list[Verdict], milp_seconds: list[float]
) -> dict[str, Any]:
    """Compares the verdicts and times of both."""
    line: dict[str, Any] = {
        "hard": len(records),
        "decided": sum(record.verdict.decided for record in records),
        "milp_decided": sum(verdict.decided for verdict in verdicts),
        "subdomains": sum(record.subdomains for record in records),
        "ratio": round(sum(milp_seconds) / sum(seconds), 2),
    }
    for prefix, times in (("", seconds), ("milp_", milp_seconds)):
        numbers = {"mean": statistics.mean(times), "median": statistics.median(times), "longest": max(times)}
        line |= {f"{prefix}{name}_s": round(value, 3) for name, value in numbers.items()}
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", type=Path, required=True, help="paths without .safetensors")
    parser.add_argument("--mnist", required=True, help="folder of MNIST, as data.root")
    parser.add_argument("--images", type=int, default=1000, help="how many test images (default: %(default)s)")
    parser.add_argument("--epsilon", type=float, default=0.1, help="radius (default: %(default)s)")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per sample (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's threads (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()  # as gls does
    torch.set_num_threads(options.threads)
    for checkpoint in options.checkpoints:
        about = {"network": checkpoint.name, "images": options.images, "epsilon": options.epsilon}
        numbers = measure(checkpoint, options.mnist, options.images, options.epsilon, options.time_limit)
        print(json.dumps(about | numbers), flush=True)


if __name__ == "__main__":
    main()
