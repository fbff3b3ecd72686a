"""The landscape during training: what arrives where, and that the training does not notice."""

import copy
import csv
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from common.runs import TINY
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing, LossLandscapeLogger
from gls_lightning.diagnostics import CheckpointDirection, LossLandscape, RandomDirection
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, GradientEstimator
from gls_lightning.main import main
from gls_lightning.objectives import STAPS, Adversarial, Certified
from gls_lightning.relaxations import IBP, DeepPoly

FEW: dict[str, Any] = {"points": 3, "population_sizes": [2], "sigmas": [0.01], "samples": 4}

pytestmark = pytest.mark.usefixtures("clean_place")


class Generators(Callback):
    """Notes the states of the global generators after each epoch."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()))


def module(estimator: GradientEstimator | None = None, **options: Any) -> CertifiedTrainingModule:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    return CertifiedTrainingModule(network=net, epsilon=0.05, estimator=estimator or RGS(sigma=0.01), **options)


def fit(trained: CertifiedTrainingModule, *callbacks: Callback, epochs: int = 3, **options: Any) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 1, 2, 3, generator=generator), torch.arange(30) % 3
    data = DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(1))
    trainer = quiet_trainer(max_epochs=epochs, callbacks=list(callbacks), **{"default_root_dir": "here", **options})
    trainer.fit(trained, data, DataLoader(TensorDataset(x, y), batch_size=10))
    return trainer


@pytest.mark.parametrize("estimator", [lambda: RGS(sigma=0.01), lambda: PGPE(population_size=4)])
@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_training_is_the_same_to_the_bit(estimator: Any, inference_mode: bool) -> None:
    results = []
    for callbacks in ([], [LossLandscapeLogger(**FEW)]):
        trained, generators = module(estimator()), Generators()
        random.seed(0)
        np.random.seed(0)
        options = {"inference_mode": inference_mode}
        trainer = fit(trained, EpsilonAnnealing(end_epoch=2), *callbacks, generators, **options)
        momentum = copy.deepcopy(trainer.optimizers[0].state_dict()["state"])
        results.append((trained.state_dict(), generators.states, momentum))
    (plain, plain_states, plain_momentum), (watched, watched_states, momentum) = results
    assert plain_states == watched_states
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    for number, state in plain_momentum.items():
        assert all(torch.equal(value, momentum[number][name]) for name, value in state.items())
    assert (Path("here/landscape/epoch=2/curves.png")).is_file()


class Snapshot(Callback):
    """Keeps the module as it was validated."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.network = copy.deepcopy(pl_module.network)
        self.tensors = {name: tensor.clone() for name, tensor in pl_module.tensors().items()}


def test_what_is_logged_is_the_landscape_at_the_target_radius() -> None:
    trained = module(objective=Adversarial())
    options = {"relaxations": [IBP(), DeepPoly()], **{k: v for k, v in FEW.items() if k != "samples"}}
    trainer = fit(trained, EpsilonAnnealing(end_epoch=30), LossLandscapeLogger(samples=4, **options), epochs=1)
    x = torch.rand(30, 1, 2, 3, generator=torch.Generator().manual_seed(0))[:4].double()
    tensors = {name: t.double() if t.is_floating_point() else t for name, t in trained.tensors().items()}
    from gls_lightning.objectives import Batch
    from gls_lightning.training.loss import TrainingLoss

    names = {name: name for name, _ in trained.network.named_parameters()}
    batch = Batch(x, torch.arange(4) % 3, torch.tensor(0.05, dtype=torch.double))
    expected = LossLandscape(**options)(TrainingLoss(trained.graph, IBP(), Certified(), tensors, names, batch))
    names_of_sigmas = {0.0: "original", 0.01: "sigma_0.01"}
    for curve in expected.curves:
        for score, value in expected.scores(curve)._asdict().items():
            logged = trainer.callback_metrics[f"landscape/{curve.relaxation}/{names_of_sigmas[curve.sigma]}/{score}"]
            assert logged.item() == pytest.approx(value, rel=1e-5, abs=1e-9)


def test_only_the_chosen_epochs() -> None:
    fit(module(), LossLandscapeLogger(every_n_epochs=2, **FEW), num_sanity_val_steps=1)
    assert {path.name for path in Path("here/landscape").iterdir()} == {"epoch=1"}


def scores(directory: str | Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with Path(directory, "scores.csv").open() as stream:
        return {(row["relaxation"], row["sigma"], row["population_size"]): row for row in csv.DictReader(stream)}


def test_two_processes_see_what_one_sees() -> None:
    frozen = {"optimizer": lambda params: torch.optim.SGD(params, lr=0.0)}
    fit(module(**frozen), LossLandscapeLogger(**FEW), epochs=1)
    one = scores("here/landscape/epoch=0")
    together = {"strategy": "ddp_fork", "devices": 2, "default_root_dir": "two"}
    fit(module(**frozen), LossLandscapeLogger(**FEW), epochs=1, **together)
    two = scores("two/landscape/epoch=0")
    assert one.keys() == two.keys()
    for name, row in one.items():
        for score in ("max_finite_difference", "mean_curvature", "deviation_from_convexity"):
            assert float(two[name][score]) == pytest.approx(float(row[score]), rel=1e-6, abs=1e-9)
        assert float(row["max_finite_difference"]) > 0


def test_validate_is_not_an_epoch_of_the_fit() -> None:
    trainer = fit(trained := module(), LossLandscapeLogger(**FEW), epochs=1)
    file = Path("here/landscape/epoch=0/curves.csv")
    file.write_text("of the fit")
    x, y = torch.rand(4, 1, 2, 3), torch.arange(4) % 3
    trainer.validate(trained, DataLoader(TensorDataset(x, y), batch_size=4), verbose=False)
    assert file.read_text() == "of the fit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": STAPS(classifier_relus=9)}, "classifier_relus is 9"),
        ({"direction": CheckpointDirection(path="nowhere.ckpt")}, "nowhere.ckpt"),
        ({"direction": RandomDirection(), "second_direction": RandomDirection()}, "parallel"),
    ],
)
def test_what_does_not_fit_the_network_is_said_before_training(options: dict[str, Any], message: str) -> None:
    generators = Generators()
    with pytest.raises(ConfigurationError, match=message):
        fit(module(), LossLandscapeLogger(epochs=[2], **FEW, **options), generators)
    assert not generators.states


def test_a_fit_without_validation() -> None:
    with pytest.raises(ConfigurationError, match="LossLandscapeLogger looks at the network in validation"):
        fit(module(), LossLandscapeLogger(**FEW), limit_val_batches=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "LossLandscapeLogger.samples is 0"),
        ({"every_n_epochs": 0}, "LossLandscapeLogger.every_n_epochs is 0"),
        ({"points": 1}, "points is 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LossLandscapeLogger(**options)


OVERLAY = """
trainer:
  max_epochs: 2
  callbacks+:
    class_path: LossLandscapeLogger
    init_args:
      epochs: [1]
      samples: 4
      points: 3
      sigmas: [1.0e-3]
      population_sizes: [2, 4]
      direction:
        class_path: RandomDirection
        init_args:
          seed: 3
"""


@pytest.fixture
def overlay(clean_place: None) -> list[str]:
    Path("landscape.yaml").write_text(OVERLAY)
    return ["fit", "--config", TINY, "--config", "landscape.yaml"]


def test_scores_pictures_and_tables_beside_csv_metrics(overlay: list[str]) -> None:
    main(overlay)
    run = Path("runs/tiny/version_0")
    with (run / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["landscape/DeepPoly/original/mean_curvature"]]
    assert [row["epoch"] for row in rows] == ["1"]
    found = scores(run / "landscape/epoch=1")
    assert len(found) == 3 * 3
    logged = float(rows[0]["landscape/IBP/sigma_0.001/deviation_from_convexity"])
    assert logged == pytest.approx(float(found["IBP", "0.001", "4"]["deviation_from_convexity"]), rel=1e-4, abs=1e-8)
    files = {path.name for path in (run / "landscape/epoch=1").iterdir()}
    assert files == {
        *("landscape.json", "curves.csv", "scores.csv", "curves.png", "scores.png", "population.png"),
    }


def test_tensorboard(overlay: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    main([*overlay, "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=tb"])
    (log,) = Path("tb").rglob("events.out.tfevents*")
    events = EventAccumulator(str(log))
    events.Reload()
    assert "landscape/CROWNIBP/original/max_finite_difference" in events.Tags()["scalars"]
    assert set(events.Tags()["images"]) == {f"landscape/{name}" for name in ("curves", "scores", "population")}


STATISTICS = """
trainer:
  callbacks+:
    class_path: TrainingStatistics
    init_args:
      box_width: true
"""


def test_everything_arrives_at_weights_and_biases(overlay: list[str], wandb: ModuleType, finished_run: Any) -> None:
    Path("statistics.yaml").write_text(STATISTICS)
    main([*overlay, "--config", "statistics.yaml", "--config", "wandb.yaml"])
    files = Path(wandb.run.dir)
    log = finished_run(files)
    (run,) = Path("runs/gls_lightning").iterdir()
    for row in scores(run / "landscape/epoch=1").values():
        if row["population_size"] in ("1", "4"):
            sigma = "original" if row["sigma"] == "0.0" else f"sigma_{row['sigma']}"
            logged = log.last[f"landscape/{row['relaxation']}/{sigma}/mean_curvature"]
            assert logged == pytest.approx(float(row["mean_curvature"]), rel=1e-4, abs=1e-6)
    assert log.last["statistics/box_width/relu1"] > 0
    steps = [row["trainer/global_step"] for row in log.rows if "val/certified_accuracy" in row]
    assert len(steps) == 2
    assert (
        log.summaries["val/certified_accuracy"] == log.summaries["certification/certified_accuracy"] == {"max", "last"}
    )
    assert log.summaries["val/loss"] == {"min", "last"}
    for name in ("curves", "scores", "population"):
        (picture,) = log.last[f"landscape/{name}_picture.filenames"]
        assert (files / picture).read_bytes() == (run / f"landscape/epoch=1/{name}.png").read_bytes()
    table = json.loads((files / log.last["landscape/curves.path"]).read_text())
    with (run / "landscape/epoch=1/curves.csv").open() as stream:
        header, *lines = csv.reader(stream)
    assert table["columns"] == header
    assert [[row[0], *map(float, row[1:])] for row in lines] == [
        pytest.approx(row, nan_ok=True) for row in table["data"]
    ]
    with (run / "metrics.csv").open() as stream:
        metrics = list(csv.DictReader(stream))
    assert {row["epoch"] for row in metrics if row["val/certified_accuracy"]} == {"0", "1"}
    assert log.config["model"]["init_args"]["epsilon"] == 0.05
