"""Checks gradients on a GPU and times whole training steps, with and without captured steps and GPU forms.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --rows DeepPoly --seconds 60

One JSON line each, in under four minutes:

* ``check``: relative errors of loss and gradient (norms over all weights) against float64 on the CPU, for float64,
  float32, TF32, the forms chosen on this device and a captured replay of them. ``right`` says whether all are within
  their limits; if one is not, the exit status is 1.
* ``row``: a whole step (loss, gradient, clipping to norm 10, Adam) on random images with IBP initialisation, float32
  and epsilon 0.1. ``plain_ms`` is without capture, Triton and the GPU's forms of convolutions; ``forms_ms`` with the
  forms; ``captured_ms`` captured as well, with a fused Adam: what ``gls fit`` does; ``captured_tf32_ms`` with
  ``float32_matmul_precision: high``. Medians of synchronised steps, and the peaks of memory. ``faster`` is plain over
  the best captured one; ``goal`` is what this project wants to reach on an H100.
* ``fit``: training steps a second of a fit of CNN3 with IBP, batches of 256 of 60,000 random images, with all that
  Lightning, checks and metrics add.

On a CPU the sizes are small, nothing is captured, and times say nothing of a GPU; the first line says so. Rows for
which no time is left are printed as ``left_out``.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from gls_lightning import CertifiedTrainingModule, networks
from gls_lightning.bounds import trace
from gls_lightning.bounds.kernels import sign_split
from gls_lightning.bounds.operations import convolution
from gls_lightning.certification import float32_precision
from gls_lightning.data import ImageDataModule
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, Backprop, GradientEstimator, Step
from gls_lightning.objectives import Batch, Certified, Objective, Standard
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation
from gls_lightning.trainer import GLSTrainer
from gls_lightning.training import CapturedLosses, TrainingLoss

MNIST, CIFAR, TINY = (1, 28, 28), (3, 32, 32), (3, 64, 64)
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


@dataclass(frozen=True)
class Row:
    """A training step.

    Attributes:
        name: The line's name.
        network: Name of the network.
        relaxation: Makes the relaxation.
        batch: Images.
        goal: What is to be reached: milliseconds, or times faster than the plain step ("5x").
    """

    name: str
    network: str
    relaxation: Callable[[], Relaxation]
    batch: int = 256
    goal: str | None = None
    objective: Callable[[], Objective] = Certified
    estimator: Callable[[], GradientEstimator] = Backprop
    shape: tuple[int, int, int] = MNIST
    classes: int = 10
    options: dict[str, Any] = field(default_factory=dict)


def fused() -> Objective:
    return Certified(loss_fusion=True)


def pgpe() -> GradientEstimator:
    return PGPE(population_size=256 if ON_GPU else 4)


def signs() -> Relaxation:
    return AlphaCROWN(step_rule="sign")


CNN7 = {"network": "CNN7", "batch": 128, "shape": CIFAR, "options": {"batch_norm": True}}
ROWS = [
    Row("CNN3 IBP", "CNN3", IBP, goal="5x"),
    Row("CNN3 CROWN-IBP", "CNN3", CROWNIBP, goal="5x"),
    Row("CNN3 DeepPoly", "CNN3", DeepPoly, goal="6x"),
    Row("CNN5 IBP", "CNN5", IBP, goal="8x"),
    Row("CNN5 CROWN-IBP", "CNN5", CROWNIBP, goal="6x"),
    Row("CNN5 DeepPoly", "CNN5", DeepPoly, goal="35"),
    Row("CNN5 DeepPoly, RGS", "CNN5", DeepPoly, estimator=RGS),
    Row("CNN7-BN CIFAR CROWN-IBP", relaxation=CROWNIBP, goal="20", **CNN7),
    Row("CNN3Tiny DeepPoly, PGPE 256", "CNN3Tiny", DeepPoly, 512, "60", estimator=pgpe),
    Row("CNN3 DeepPoly, PGPE 256", "CNN3", DeepPoly, 512, "150", estimator=pgpe),
    Row("CNN3 DeepPoly, RGS", "CNN3", DeepPoly, estimator=RGS),
    Row("CNN3 standard", "CNN3", IBP, objective=Standard),
    Row("CNN3 CROWN-IBP, loss fusion", "CNN3", CROWNIBP, objective=fused),
    Row("CNN3 HBox", "CNN3", HBox),
    Row("CNN5 CROWN-IBP, loss fusion", "CNN5", CROWNIBP, objective=fused),
    Row("CNN5 HBox", "CNN5", HBox),
    Row("CNN7-BN CIFAR IBP", relaxation=IBP, **CNN7),
    Row("CNN7-BN CIFAR CROWN-IBP, loss fusion", relaxation=CROWNIBP, objective=fused, **CNN7),
    Row("CNN7-BN CIFAR CROWN-IBP, RGS", relaxation=CROWNIBP, estimator=RGS, **CNN7),
    Row("CNN5 CIFAR DeepPoly, RGS", "CNN5", DeepPoly, 128, estimator=RGS, shape=CIFAR),
    Row("CNN5 64x64, 200 classes, CROWN-IBP, loss fusion", "CNN5", CROWNIBP, 128, None, fused, shape=TINY, classes=200),
    Row("CNN5 64x64, 200 classes, DeepPoly", "CNN5", DeepPoly, 128, shape=TINY, classes=200),
    Row("CNN3Tiny alpha-CROWN (sign), PGPE 256", "CNN3Tiny", signs, 512, estimator=pgpe),
]
CHECKS = {
    "IBP": (IBP, Certified),
    "CROWN-IBP": (CROWNIBP, Certified),
    "CROWN-IBP, loss fusion": (CROWNIBP, fused),
    "DeepPoly": (DeepPoly, Certified),
    "HBox": (HBox, Certified),
}
LIMITS = {"float64": 1e-9, "float32": 1e-4, "float32 forms": 1e-4, "tf32 forms": 2e-2, "captured": 1e-4}
"""Largest relative errors; TF32 rounds to 11 bits."""


class Problem:
    """The loss of a random batch of a network on a device."""

    def __init__(self, row: Row, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        options = {"input_shape": row.shape, "num_classes": row.classes, **row.options}
        self.network: nn.Module = getattr(networks, row.network)(**options)
        self.graph = trace(self.network, row.shape)
        self.network.to(device, dtype)
        size = row.batch if ON_GPU else min(row.batch, 4)
        images, labels = torch.rand(size, *row.shape), torch.randint(row.classes, (size,))
        self.batch = Batch(images.to(device, dtype), labels.to(device), torch.tensor(0.1, device=device, dtype=dtype))
        self.relaxation, self.objective, self.estimator = row.relaxation(), row.objective(), row.estimator().to(device)
        self.params: dict[str, Tensor] = dict(self.network.named_parameters())

    def loss(self) -> TrainingLoss:
        """Returns the loss that a step differentiates."""
        tensors = {**self.params, **dict(self.network.named_buffers())}
        names = {name: name for name in self.params}
        return TrainingLoss(self.graph, self.relaxation, self.objective, tensors, names, self.batch)

    def estimate(self, losses: CapturedLosses, step: int = 0) -> Tensor:
        """Evaluates the estimator; the gradient lies in the parameters."""
        self.network.zero_grad()
        loss, _ = self.estimator(losses(self.loss()), self.params, Step(0, step))
        loss.backward()
        return loss.detach()

    def losses(self, captured: bool) -> CapturedLosses:
        """Returns what captures the loss, or not."""
        losses = CapturedLosses(captured)  # refused where it is not possible: a plain step is not timed in its place
        losses.start(self.batch.inputs.device, self.relaxation, processes=1)
        return losses


@contextmanager
def plain_forms() -> Iterator[None]:
    """Switches the forms for GPUs off: kernels in Triton, and convolutions as products or by place."""
    transposed = import_module("gls_lightning.bounds.rows.transposed_convolution")
    form_on_device = transposed.form_on_device

    def plain(kernel: Tensor, geometry: Any) -> str:
        return "library" if kernel.is_cuda else form_on_device(kernel, geometry)

    with (
        patch.object(sign_split, "kernels_for", return_value=None),
        patch.object(transposed, "form_on_device", plain),
        patch.object(convolution, "form_on_device", plain),
        patch.object(convolution, "is_joined", return_value=False),
        patch.object(convolution.Convolution, "_convolve_maps", convolution.Convolution._convolve),
    ):
        yield


def values(row: Row, device: torch.device, dtype: torch.dtype, captured: bool = False) -> Tensor:
    """Loss and gradient in one vector of float64 on the CPU, of the third step, whose batch was not recorded."""
    problem = Problem(row, device, dtype)
    losses, last = problem.losses(captured), problem.batch
    for shift in (2, 1, 0):
        problem.batch = last._replace(inputs=last.inputs.roll(shift, 0), labels=last.labels.roll(shift, 0))
        loss = problem.estimate(losses)
    parts = [loss, *(p.grad for p in problem.params.values())]
    return torch.cat([part.double().cpu().flatten() for part in parts])


def check(name: str, network: str) -> bool:
    """Compares loss and gradient in every precision and form with float64 on the CPU."""
    relaxation, objective = CHECKS[name]
    row = Row(name, network, relaxation, batch=8, objective=objective)
    right = values(row, torch.device("cpu"), torch.float64)
    found: dict[str, float] = {}
    failed: dict[str, str] = {}

    def compare(what: str, **options: Any) -> None:
        try:
            got = values(row, DEVICE, **{"dtype": torch.float32, **options})
        except _FAILURES as error:
            failed[what] = str(error).partition("\n")[0][:200]
            return
        found[what] = max(float((g - r).norm() / r.norm()) for g, r in ((got[:1], right[:1]), (got[1:], right[1:])))

    with float32_precision("highest"):
        with plain_forms():
            compare("float64", dtype=torch.float64)
            compare("float32")
        compare("float32 forms")
        if ON_GPU:
            compare("captured", captured=True)
    if ON_GPU:
        with float32_precision("high"):
            compare("tf32 forms")
    within = not failed and all(error <= LIMITS[what] for what, error in found.items())
    errors = {what: float(f"{error:.2g}") for what, error in found.items()}
    say(check=f"{network} {name}", errors=errors, **({"failed": failed} if failed else {}), right=within)
    return within


def step_of(row: Row, captured: bool) -> Callable[[], None]:
    """Makes a whole training step."""
    problem = Problem(row, DEVICE)
    losses = problem.losses(captured)
    optimizer = torch.optim.Adam(problem.network.parameters(), lr=5e-4, fused=captured or None)
    number = 0

    def step() -> None:
        nonlocal number
        problem.estimate(losses, number)
        torch.nn.utils.clip_grad_norm_(problem.network.parameters(), 10.0)
        optimizer.step()
        number += 1

    return step


@dataclass
class Timed:
    """Times and memory of a variant of a step."""

    milliseconds: float
    gib: float


def timed(step: Callable[[], None], seconds: float) -> Timed:
    """Times synchronised steps, behind three that choose kernels, record and compare."""
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3 if ON_GPU else 1):
        step()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 20 and (len(times) < 2 or time.perf_counter() - start < seconds):
        synchronise()
        begun = time.perf_counter()
        step()
        synchronise()
        times.append(1e3 * (time.perf_counter() - begun))
    memory = torch.cuda.max_memory_allocated() if ON_GPU else 0
    return Timed(statistics.median(times), memory / 2**30)


def synchronise() -> None:
    """Waits for the GPU."""
    if ON_GPU:
        torch.cuda.synchronize()


def free() -> None:
    """Gives back the memory of the last variant."""
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()


def variants(row: Row) -> dict[str, Callable[[float], Timed]]:
    """Lists the ways to take a step, each of which times it."""

    def plain(seconds: float) -> Timed:
        with plain_forms():
            return timed(step_of(row, captured=False), seconds)

    def with_tf32(seconds: float) -> Timed:
        with float32_precision("high"):
            return timed(step_of(row, captured=True), seconds)

    found = {"plain": plain, "forms": lambda seconds: timed(step_of(row, captured=False), seconds)}
    if ON_GPU:
        found |= {"captured": lambda seconds: timed(step_of(row, captured=True), seconds), "captured_tf32": with_tf32}
    return found


_FAILURES = RuntimeError, ConfigurationError
"""Errors that end one measurement and none of the others: no memory, a failed operation, a step not captured."""


def measure(row: Row, seconds: float) -> None:
    """Times the variants of a row; those that fail say why."""
    line: dict[str, Any] = {"row": row.name, "batch": row.batch if ON_GPU else min(row.batch, 4)}
    found: dict[str, float] = {}
    for name, variant in variants(row).items():
        try:
            took = variant(seconds)
        except _FAILURES as error:
            line[f"{name}_failed"] = str(error).partition("\n")[0][:200]
        else:
            found[name] = took.milliseconds
            line |= {f"{name}_ms": round(took.milliseconds, 2), f"{name}_gib": round(took.gib, 2)}
        free()
    captured = [found[name] for name in ("captured", "captured_tf32") if name in found]
    if captured and "plain" in found:
        line |= {"faster": round(found["plain"] / min(captured), 2), **judged(row.goal, found["plain"], min(captured))}
    say(**line)


def judged(goal: str | None, plain: float, captured: float) -> dict[str, Any]:
    """Says whether a goal is reached."""
    if goal is None:
        return {}
    limit = plain / float(goal[:-1]) if goal.endswith("x") else float(goal)
    return {"goal": goal, "reached": captured <= limit}


class RandomImages(ImageDataModule):
    """As many images of noise as MNIST has."""

    input_shape = MNIST
    num_classes = 10

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Makes images and labels."""
        size = 60000 if ON_GPU else 1000
        generator = torch.Generator().manual_seed(int(train))
        return torch.randint(256, (size, *MNIST), dtype=torch.uint8, generator=generator), torch.arange(size) % 10


def fit(capture: Any, steps: int) -> float:
    """Returns the steps a second of a fit, its second half counted."""
    times: list[float] = []

    class Clock(CertifiedTrainingModule):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.global_step in (steps // 2, steps):
                synchronise()
                times.append(time.perf_counter())

    torch.manual_seed(0)
    module = Clock(network=networks.CNN3(), epsilon=0.1, relaxation=IBP(), estimator=Backprop(), capture=capture)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = GLSTrainer(max_steps=steps, max_epochs=-1, devices=1, limit_val_batches=0, **quiet)
    trainer.fit(module, RandomImages(batch_size=256 if ON_GPU else 32))
    return (steps - steps // 2) / (times[1] - times[0])


def say(**line: Any) -> None:
    """Prints a line of JSON."""
    print(json.dumps(line), flush=True)


def describe() -> dict[str, Any]:
    """Names the device."""
    if not ON_GPU:
        return {"device": "cpu", "note": "no GPU: small sizes, nothing is captured, times say nothing of a GPU"}
    card = torch.cuda.get_device_properties(0)
    return {"device": card.name, "gib": round(card.total_memory / 2**30), "cuda": torch.version.cuda}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks gradients and times training steps on a GPU.")
    parser.add_argument("--rows", default="", help="only rows with this in their names")
    parser.add_argument("--seconds", type=float, default=225, help="no row begins later than this")
    parser.add_argument("--seconds_per_variant", type=float, default=1.0, help="time for the counted steps of each")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    say(**describe(), torch=torch.__version__)
    right = all([check(name, "CNN3" if ON_GPU else "CNN3Tiny") for name in CHECKS])
    steps = 1000 if ON_GPU else 20
    for capture in (ON_GPU or "auto", False):
        try:
            say(fit="CNN3 IBP", capture=capture, steps_a_second=round(fit(capture, steps), 1), goal=400)
        except _FAILURES as error:
            say(fit="CNN3 IBP", capture=capture, failed=str(error).partition("\n")[0][:200])
        free()
    for row in ROWS:
        if options.rows not in row.name:
            continue
        if time.perf_counter() - start > options.seconds:
            say(row=row.name, left_out="no time left")
        else:
            measure(row, options.seconds_per_variant)
    say(done=True, right=right, seconds=round(time.perf_counter() - start))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
