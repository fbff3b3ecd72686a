import csv
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from common.images import NoiseImages
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import Box
from gls_lightning.callbacks import SigmaDecay, TrainingStatistics
from gls_lightning.cli import GLSCLI
from gls_lightning.diagnostics import propagation_tightness
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop, GradientEstimator
from gls_lightning.main import main
from gls_lightning.objectives import Certified, Objective, Standard
from gls_lightning.relaxations import IBP, AlphaCROWN, DeepPoly

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "tests/configs/tiny.yaml")
EVERYTHING = dict.fromkeys(("relu_states", "box_width", "propagation_tightness", "gradient"), True)
EPSILON = 0.03


class Images(NoiseImages):
    num_classes = 3
    size = 24


def network() -> nn.Sequential:
    hidden = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 8), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(8, 3))


def module(**options: Any) -> CertifiedTrainingModule:
    torch.manual_seed(0)
    defaults = {"network": network(), "epsilon": EPSILON, "relaxation": DeepPoly(), "estimator": Backprop()}
    return CertifiedTrainingModule(
        **{**defaults, "optimizer": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), **options}
    )


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    return quiet_trainer(**{"max_epochs": 2, "callbacks": list(callbacks), **options})


def fit(*callbacks: Callback, trained: CertifiedTrainingModule | None = None, **options: Any) -> dict[str, float]:
    """What is in the log after a training, under ``statistics/``."""
    runner = trainer(*callbacks, **options)
    runner.fit(trained or module(), datamodule=Images(batch_size=8))
    metrics = runner.callback_metrics.items()
    return {name.removeprefix("statistics/"): v.item() for name, v in metrics if name.startswith("statistics/")}


def images(samples: int) -> tuple[Tensor, Tensor]:
    data = Images(batch_size=samples)
    data.setup("fit")
    inputs, labels, _ = next(iter(data.val_dataloader()))
    return inputs, labels


def rows_with(name: str, metrics: Path) -> list[dict[str, str]]:
    with metrics.open() as file:
        return [row for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize("samples", [5, 100])
def test_bounds_of_the_first_images_at_the_target_radius(samples: int) -> None:
    trained = module()
    trained.current_epsilon.fill_(0.5)
    found = fit(TrainingStatistics(relu_states=True, box_width=True, samples=samples), trained=trained)
    box = Box.around(images(min(samples, 24))[0], EPSILON)
    bounds = trained.relaxation.preactivation_bounds(trained.graph, trained.tensors(), box)
    together = {state: 0 for state in ("unstable", "inactive", "active")}
    for name, (lower, upper) in bounds.items():
        counts = {
            "unstable": ((lower < 0) & (upper > 0)).sum().item(),
            "inactive": (upper <= 0).sum().item(),
            "active": ((lower >= 0) & (upper > 0)).sum().item(),
        }
        for state, count in counts.items():
            assert found.pop(f"relu/{name}/{state}") == pytest.approx(count / lower.numel())
            together[state] += count
        assert found.pop(f"box_width/{name}") == pytest.approx((upper - lower).mean().item())
    for state, count in together.items():
        assert found.pop(f"relu/{state}") == pytest.approx(count / (20 * min(samples, 24)))
        assert count > 0
    assert not found


def test_tightness_is_a_mean_over_images_and_logits() -> None:
    trained = module()
    found = fit(TrainingStatistics(propagation_tightness=True, samples=6), trained=trained)
    of_each = propagation_tightness(trained.graph, trained.tensors(), images(6)[0])
    assert found == {"propagation_tightness": pytest.approx(of_each.sum().item() / 18)}


def test_the_gradient_is_that_of_the_training() -> None:
    """Batch statistics and the L1 penalty included, as PyTorch's own layers give it."""
    trained = module(objective=Standard(), l1=0.01)
    found = fit(TrainingStatistics(gradient=True, gradient_samples=2, samples=9), trained=trained)
    inputs, labels = images(9)
    weights = [layer.weight for layer in trained.network if isinstance(layer, nn.Conv2d | nn.Linear)]
    loss = F.cross_entropy(trained.network.train()(inputs), labels) + 0.01 * sum(w.abs().sum() for w in weights)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(trained.network.parameters()))])
    assert found.pop("gradient/norm") == pytest.approx(gradient.norm().item(), rel=1e-4)
    assert found == {"gradient/cosine": pytest.approx(1), "gradient/relative_variance": 0}


def test_the_gradient_is_that_at_the_target_radius() -> None:
    norms = []
    for epsilon, current_epsilon in ((EPSILON, EPSILON), (EPSILON, 0.001), (0.001, EPSILON)):
        trained = module(epsilon=epsilon, optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
        trained.current_epsilon.fill_(current_epsilon)
        found = fit(TrainingStatistics(gradient=True, gradient_samples=2), trained=trained)
        norms.append(found["gradient/norm"])
    assert norms[0] == norms[1] != norms[2]


def rgs() -> RGS:
    return RGS(population_size=2, sigma=0.05)


def pgpe() -> PGPE:
    return PGPE(population_size=8, initial_sigma=0.05)


def random_states() -> list[Any]:
    kind, keys, *rest = np.random.get_state()
    return [torch.get_rng_state().tolist(), random.getstate(), kind, keys.tolist(), rest]


def all_of(trained: CertifiedTrainingModule) -> dict[str, Tensor]:
    optimizer = trained.trainer.optimizers[0]
    momenta = {f"momentum of {i}": state["momentum_buffer"] for i, state in enumerate(optimizer.state.values())}
    return {**dict(trained.named_parameters()), **dict(trained.named_buffers()), **momenta}


@pytest.mark.parametrize("make", [rgs, pgpe, lambda: SAM(rho=0.05)], ids=["RGS", "PGPE", "SAM"])
@pytest.mark.parametrize("inference_mode", [True, False])
def test_the_training_is_bitwise_the_one_without(make: Callable[[], GradientEstimator], inference_mode: bool) -> None:
    seen = []
    for callbacks in ([], [TrainingStatistics(**EVERYTHING, gradient_samples=3, samples=7)]):
        trained = module(estimator=make())
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        decay = [SigmaDecay(factor=0.5, milestones=[1])] if isinstance(trained.estimator, RGS) else []
        fit(*callbacks, *decay, trained=trained, inference_mode=inference_mode)
        seen.append((all_of(trained), random_states()))
    (without, states_without), (with_, states_with) = seen
    assert without.keys() == with_.keys()
    assert {"network.1.running_mean", "momentum of 0"} < without.keys()
    for name, tensor in without.items():
        assert torch.equal(tensor, with_[name]), name
    assert states_without == states_with


def test_pgpe_and_rgs_as_their_kind_gives_it() -> None:
    small, large = (
        fit(TrainingStatistics(gradient=True), trained=module(estimator=estimator, relaxation=IBP()))
        for estimator in (rgs(), pgpe())
    )
    assert 0 < small["gradient/relative_variance"] < 5 < large["gradient/relative_variance"]
    assert 1 > small["gradient/cosine"] > 2 * large["gradient/cosine"] > 0


@pytest.mark.parametrize("objective", [Certified(), Standard()])
def test_without_useful_gradients_there_is_no_cosine(objective: Objective, recwarn: pytest.WarningsRecorder) -> None:
    trained = module(estimator=pgpe(), relaxation=AlphaCROWN(step_rule="sign"), objective=objective)
    found = fit(TrainingStatistics(gradient=True, gradient_samples=2), trained=trained)
    said = [str(warning.message) for warning in recwarn if "TrainingStatistics" in str(warning.message)]
    if objective.uses_relaxation:
        assert found.keys() == {"gradient/relative_variance"}
        assert said == [
            "TrainingStatistics does not log the cosine to the gradient and its norm: relaxation AlphaCROWN has no "
            "useful gradients."
        ]
    else:
        assert "gradient/cosine" in found
        assert not said


@pytest.mark.parametrize(
    ("options", "expected"), [({}, [0, 1, 2, 3]), ({"every_n_epochs": 2}, [1, 3]), ({"epochs": [2, 0]}, [0, 2])]
)
def test_measures_at_the_chosen_epochs(options: dict[str, Any], expected: list[int], tmp_path: Path) -> None:
    class Counting(IBP):
        calls = 0

        def preactivation_bounds(self, *problem: Any) -> dict[str, Box]:
            self.calls += 1
            return super().preactivation_bounds(*problem)

    trained, statistics = module(relaxation=Counting()), TrainingStatistics(box_width=True, samples=2, **options)
    fit(statistics, trained=trained, max_epochs=4, logger=CSVLogger(tmp_path, name="run", version=0))
    rows = rows_with("statistics/box_width/2", tmp_path / "run/version_0/metrics.csv")
    assert [int(row["epoch"]) for row in rows] == expected
    assert trained.relaxation.calls == len(expected)  # none before the training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "measures nothing; set one or more of relu_states, box_width, propagation_tightness, gradient"),
        ({"gradient": True, "gradient_samples": 1}, "TrainingStatistics.gradient_samples is 1; it must be at least 2"),
        ({"gradient": True, "samples": 0}, "TrainingStatistics.samples is 0; it must be at least 1"),
        ({"gradient": True, "epochs": [-1]}, "TrainingStatistics.epochs is"),
    ],
)
def test_nothing_to_measure(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TrainingStatistics(**options)


def test_a_fit_without_validation() -> None:
    with pytest.raises(ConfigurationError, match="TrainingStatistics looks at the network in validation"):
        fit(TrainingStatistics(gradient=True), limit_val_batches=0)


def test_a_network_without_relus() -> None:
    trained = module(network=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    with pytest.raises(ConfigurationError, match="measures ReLUs, of which the network has none"):
        fit(TrainingStatistics(box_width=True), trained=trained)


def test_processes_that_share_a_population_measure_what_one_does(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
        trained = module(estimator=pgpe(), relaxation=IBP(), population_parallel=processes > 1)
        strategy = {"devices": processes, "strategy": "ddp_fork" if processes > 1 else "auto"}
        statistics = TrainingStatistics(**EVERYTHING, gradient_samples=4)
        options = {**strategy, "use_distributed_sampler": False, "default_root_dir": tmp_path}
        found.append(fit(statistics, trained=trained, **options))
    assert len(found[0]) == 15
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_from_the_command_line(clean_place: None) -> None:
    Path("statistics.yaml").write_text(
        "trainer:\n  callbacks+:\n    class_path: TrainingStatistics\n    init_args: {relu_states: true, epochs: [1]}\n"
    )
    main(["fit", "--config", TINY, "--config", "statistics.yaml", "--trainer.max_epochs=2"])
    (row,) = rows_with("statistics/relu/unstable", Path("runs/tiny/version_0/metrics.csv"))
    assert row["epoch"] == "1"
    states = [float(row[f"statistics/relu/{state}"]) for state in ("unstable", "inactive", "active")]
    assert sum(states) == pytest.approx(1)
    assert 0 < states[0] < 1


def test_example_of_the_page(clean_place: None, parsed: list[GLSCLI]) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/training_statistics.md").read_text(), re.DOTALL)
    Path("statistics.yaml").write_text(text)
    main(["fit", "--config", TINY, "--config", "statistics.yaml"])
    (added,) = (c for c in parsed[0].trainer.callbacks if isinstance(c, TrainingStatistics))
    assert added.relu_states
    assert added.propagation_tightness
    assert 9 in added.chosen_epochs
    assert 10 not in added.chosen_epochs
