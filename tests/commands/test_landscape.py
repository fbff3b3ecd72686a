"""``gls landscape``, driven as users do."""

import csv
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from common.runs import tiny_run
from safetensors.torch import save_file

import gls_lightning
from gls_lightning.bounds import Box, margin_specification
from gls_lightning.data import Digits
from gls_lightning.main import main
from gls_lightning.objectives.losses import robust_cross_entropy
from gls_lightning.relaxations import IBP

FEW = ["--points=3", "--sigmas=[0.001]", "--population_sizes=[2,4]", "--samples=6"]

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of a few steps."""
    run = tiny_run(tmp_path_factory, "--trainer.limit_val_batches=0", "--model.objective=Standard")
    return run / "checkpoints/last.ckpt"


def landscape(checkpoint: Path, *words: str, output: str = "out") -> None:
    main(["landscape", "--ckpt_path", str(checkpoint), f"--output={output}", *FEW, *words])


def rows(name: str, output: str = "out") -> list[dict[str, str]]:
    with Path(output, f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_numbers_and_pictures_of_the_loss_around_a_checkpoint(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["landscape", "--ckpt_path", str(checkpoint), *FEW])
    folder = checkpoint.parents[1] / "landscape/last"
    about = json.loads((folder / "landscape.json").read_text())
    assert (about["objective"], about["epsilon"], about["samples"]) == ("Certified", 0.05, 6)
    assert (about["checkpoint"], about["data"], about["network"]) == (str(checkpoint), "Digits", "CNN3Tiny")
    network = gls_lightning.load(checkpoint).network.double().eval()
    graph = gls_lightning.bounds.trace(network, (1, 8, 8))
    x, y, _ = next(iter(Digits(batch_size=6, test_size=50).test_dataloader()))
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    margins = margin_specification(y, 10, torch.double)
    expected = robust_cross_entropy(IBP()(graph, tensors, Box.around(x.double(), 0.05), margins)).mean().item()
    (centre,) = (
        row
        for row in rows("curves", str(folder))
        if (row["relaxation"], row["sigma"], float(row["coordinate"])) == ("IBP", "0.0", 0)
    )
    assert float(centre["loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(centre["normalized"]) == 1
    for name in ("curves", "scores", "population"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "Certified, epsilon 0.05, 6 test images of Digits" in printed
    assert str(folder / "curves.png") in printed
    assert not Path("runs").exists()


def test_two_processes_see_the_same(checkpoint: Path) -> None:
    landscape(checkpoint, output="one")
    landscape(checkpoint, "--trainer.strategy=ddp_fork", "--trainer.devices=2", output="two")
    one, two = ([float(row["loss"]) for row in rows("curves", output)] for output in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-9)


def test_between_two_checkpoints(checkpoint: Path) -> None:
    other = gls_lightning.load(checkpoint).network
    with torch.no_grad():
        for p in other.parameters():
            p += 0.1
    save_file(other.state_dict(), "other.safetensors")
    words = ["--direction=CheckpointDirection", "--direction.path=other.safetensors", "--span=[0,1]"]
    landscape(checkpoint, *words, "--relaxations=[IBP]")
    saved = str(checkpoint.parents[1])
    other_words = ["--config", saved, "--ckpt_path", "other.safetensors", "--relaxations=[IBP]", "--output=there", *FEW]
    main(["landscape", *other_words])
    end = next(row for row in rows("curves") if float(row["coordinate"]) == 1 and row["sigma"] == "0.0")
    start = next(row for row in rows("curves", "there") if float(row["coordinate"]) == 0 and row["sigma"] == "0.0")
    assert float(end["loss"]) == pytest.approx(float(start["loss"]), rel=1e-6)


def test_options_of_every_kind(checkpoint: Path) -> None:
    words = ["--direction=RandomDirection", "--direction.seed=1", "--second_direction=RandomDirection"]
    landscape(checkpoint, *words, "--objective=SABR", "--epsilon=0.02", "--noise=fresh", "--relaxations=[DeepPoly]")
    about = json.loads(Path("out/landscape.json").read_text())
    assert (about["objective"], about["epsilon"]) == ("SABR", 0.02)
    assert len(rows("curves")) == 9 * (1 + 2)
    assert {path.name for path in Path("out").iterdir()} == {"landscape.json", "curves.csv", "surface.png"}


def test_nothing_is_left_of_a_trial(checkpoint: Path) -> None:
    landscape(checkpoint, "--trainer.fast_dev_run=true", "--relaxations=[IBP]")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--samples=0", "samples is 0; it must be at least 1"),
        ("--epsilon=2", "epsilon is 2.0; a radius for images"),
        ("--sigmas=[-1]", r"sigmas is [-1.0]; it must be positive, finite numbers"),
        ("--points=1", "points is 1; it must be at least 3"),
        ("--direction=CheckpointDirection --direction.path=no.ckpt", "there is no checkpoint no.ckpt"),
        ("--direction=GradientDirection --direction.relaxation=AlphaCROWN", "has no useful gradients"),
    ],
)
def test_bad_input(word: str, message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        landscape(checkpoint, *word.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_an_output_that_is_a_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").write_text("mine")
    with pytest.raises(SystemExit):
        landscape(checkpoint)
    assert "output is out, which is a file; it must be a directory" in capsys.readouterr().err
    assert Path("out").read_text() == "mine"


def test_weights_and_biases(checkpoint: Path, wandb: ModuleType, finished_run: Any) -> None:
    landscape(checkpoint, "--config", str(checkpoint.parents[1]), "--config", "wandb.yaml", "--relaxations=[IBP]")
    files = Path(wandb.run.dir)
    log = finished_run(files)
    original = next(row for row in rows("scores") if row["sigma"] == "0.0")
    logged = log.last["landscape/IBP/original/max_finite_difference"]
    assert logged == pytest.approx(float(original["max_finite_difference"]), rel=1e-5)
    table = json.loads((files / log.last["landscape/scores.path"]).read_text())
    assert len(table["data"]) == len(rows("scores"))
