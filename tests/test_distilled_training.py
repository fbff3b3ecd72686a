"""Training with a teacher, through the command line."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from common.runs import TINY, tiny_run
from torch import Tensor

import gls_lightning
from gls_lightning.main import main

OBJECTIVE = "--model.objective"
TEACHER = [f"{OBJECTIVE}.teacher=CNN3Tiny", f"{OBJECTIVE}.teacher.input_shape=[1,8,8]"]
ATTACK = [f"{OBJECTIVE}.attack=PGD", f"{OBJECTIVE}.attack.steps=2"]
KINDS = {
    "logits": [f"{OBJECTIVE}=LogitDistillation", "--model.estimator=RGS", "--model.relaxation=IBP"],
    "PGPE": [f"{OBJECTIVE}=LogitDistillation", "--model.estimator=PGPE", "--model.estimator.population_size=4"],
    "features, float64": [
        f"{OBJECTIVE}=FeatureDistillation",
        f"{OBJECTIVE}.alpha=0.5",
        "--model.relaxation=CROWNIBP",
        "--trainer.precision=64-true",
    ],
    "another architecture": [f"{OBJECTIVE}=LogitDistillation", "--model.estimator=SAM", "--model.network=CNN3"],
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an adversarially trained network."""
    words = [f"{OBJECTIVE}=Adversarial", *ATTACK, "--model.estimator=Backprop", "--model.relaxation=IBP"]
    return tiny_run(tmp_path_factory, *words, "--seed_everything=1") / "checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def words(kind: str, weights: Path) -> list[str]:
    return ["fit", "--config", TINY, *KINDS[kind], *TEACHER, *ATTACK, f"{OBJECTIVE}.teacher_weights={weights}"]


def last(version: int = 0) -> Path:
    return Path(f"runs/tiny/version_{version}/checkpoints/last.ckpt")


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def network(path: Path) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in read(path)["state_dict"].items() if name.startswith("network.")}


@pytest.mark.parametrize("kind", KINDS)
def test_trains_the_student_alone(kind: str, teacher: Path) -> None:
    before = read(teacher)["state_dict"]
    main([*words(kind, teacher), "--trainer.max_epochs=1"])
    checkpoint = read(last())
    assert network(last()).keys() == network(teacher).keys()
    assert {name for name in checkpoint["state_dict"] if "teacher" in name} == set()
    trained = len(checkpoint["optimizer_states"][0]["state"])
    assert trained == len(list(gls_lightning.load(teacher).network.parameters()))
    with Path("runs/tiny/version_0/metrics.csv").open() as lines:
        (distance,) = (float(row["train/distillation"]) for row in csv.DictReader(lines) if row["train/distillation"])
    assert distance > 0
    torch.testing.assert_close(read(teacher)["state_dict"], before, rtol=0, atol=0)


def test_the_teacher_is_needed_to_train_alone(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed run is that which was not interrupted, and evaluations and loading do without the teacher."""
    kept = Path("teacher.ckpt")
    shutil.copy(teacher, kept)
    begun = words("logits", kept)
    main([*begun, "--trainer.max_epochs=2"])
    main(begun)
    main(["fit", "--ckpt_path", str(last(1)), "--trainer.max_epochs=2"])
    torch.testing.assert_close(network(last(1)), network(last(0)), rtol=0, atol=0)

    kept.unlink()
    main(["validate", "--ckpt_path", str(last(1)), "--trainer.limit_val_batches=1"])
    torch.testing.assert_close(
        {f"network.{name}": tensor for name, tensor in gls_lightning.load(last(1)).network.state_dict().items()},
        network(last(1)),
    )
    with pytest.raises(SystemExit):
        main(["fit", "--ckpt_path", str(last(1)), "--trainer.max_epochs=3"])
    assert "teacher_weights: there is no checkpoint teacher.ckpt" in capsys.readouterr().err


def test_landscapes_and_statistics_ask_the_teacher(teacher: Path) -> None:
    statistics = ["--trainer.callbacks+=TrainingStatistics", "--trainer.callbacks.gradient=true"]
    main([*words("logits", teacher), *statistics])
    main(["landscape", "--ckpt_path", str(last()), "--points=3", "--samples=4"])
    with Path("runs/tiny/version_0/metrics.csv").open() as lines:
        assert "statistics/gradient/cosine" in next(csv.reader(lines))
