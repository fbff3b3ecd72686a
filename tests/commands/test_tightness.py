"""``gls tightness``, driven as users do."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from common.runs import STANDARD, TINY, tiny_run
from matplotlib.figure import Figure
from PIL import Image

import gls_lightning
from gls_lightning.bounds import Box, margin_specification
from gls_lightning.main import main
from gls_lightning.relaxations import IBP, DeepPoly

RUN = Path("runs/tiny/version_0")

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a few steps."""
    length = ["--trainer.limit_val_batches=0", "--data.train_size=1000"]
    return tiny_run(tmp_path_factory, *STANDARD, "--model.optimizer.lr=0.01", *length).parents[1]


@pytest.fixture
def checkpoint(trained: Path) -> Path:
    """The last checkpoint of a copy of this run in the working directory."""
    shutil.copytree(trained, "runs")
    return RUN / "checkpoints/last.ckpt"


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def curves(folder: str | Path = RUN / "tightness/last") -> dict[str, Any]:
    return json.loads(Path(folder, "tightness.json").read_text())


def test_counts_what_each_relaxation_certifies(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--relaxations=[IBP,DeepPoly]", "--num_radii=3", "--samples=40"]
    main(["tightness", "--ckpt_path", str(checkpoint), *words])

    content = curves()
    assert (content["checkpoint"], content["data"], content["epsilon"]) == (str(checkpoint), "Digits", 0.05)
    assert (content["samples"], content["radii"]) == (40, [0, 0.05, 0.1])
    module = gls_lightning.load(checkpoint)
    data = gls_lightning.data.Digits(test_size=40)
    x, y, _ = next(iter(data.test_dataloader()))
    module.trace(x.shape[1:])
    module.double()
    natural = (module(x.double()).argmax(1) == y).double()
    assert 0.1 < natural.mean() < 1
    spec = margin_specification(y, 10, torch.double)
    for relaxation in (IBP(), DeepPoly()):
        curve = [natural.mean().item()]
        for radius in (0.05, 0.1):
            lower = relaxation(module.graph, module.tensors(), Box.around(x.double(), radius), spec)
            curve.append((lower > 0).all(1).double().mean().item())
        entry = content["relaxations"][type(relaxation).__name__]
        assert entry["certified_accuracy"] == pytest.approx(curve)
        assert entry["auc"] == pytest.approx((curve[0] + 2 * curve[1] + curve[2]) / 4)
        assert entry["errors"] == 0
    assert content["relaxations"]["DeepPoly"]["options"]["memory_budget"] == DeepPoly().memory_budget

    run = RUN / "tightness/last"
    assert {path.name for path in run.iterdir()} == {"tightness.json", "tightness.png"}
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    with Image.open(run / "tightness.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (960, 630))
        assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 10
    printed = capsys.readouterr().out
    for text in ("CNN3Tiny, 40 test images of Digits", "DeepPoly", str(run / "tightness.png")):
        assert text in printed


def test_options_in_a_file_beside_the_directory_of_a_run(checkpoint: Path) -> None:
    options = {"relaxations": ["CROWNIBP", {"class_path": "CROWNIBP"}], "radii": [0.01, 0.02]}
    Path("tightness.yaml").write_text(yaml.safe_dump(options))
    words = ["--config", "tightness.yaml", "--trainer.limit_test_batches=1", "--trainer.logger=false"]
    with pytest.warns(UserWarning, match="gls tightness without ckpt_path evaluates the network as it is init"):
        main(["tightness", "--config", str(checkpoint.parents[1]), *words])
    content = curves("tightness")
    assert content["checkpoint"] is None
    assert (content["samples"], content["radii"]) == (32, [0.01, 0.02])
    assert list(content["relaxations"]) == ["CROWNIBP", "CROWNIBP_2"]


def test_the_default_compares_up_to_twice_the_target(checkpoint: Path) -> None:
    main(["tightness", "--ckpt_path", str(checkpoint), "--data.test_size=2"])
    content = curves()
    assert content["samples"] == 2
    assert content["radii"] == pytest.approx([0.005 * step for step in range(21)])
    assert list(content["relaxations"]) == ["IBP", "HBox", "CROWNIBP", "DeepPoly"]


def test_two_processes_measure_the_same(checkpoint: Path) -> None:
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    words = ["tightness", "--ckpt_path", str(checkpoint), "--relaxations=[IBP]", "--num_radii=5", "--samples=41"]
    main(words)
    processes = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.eval_batch_size=8"]
    main([*words, *processes, "--output=of_two"])
    assert curves("of_two") == curves()


def test_a_process_without_images_waits_for_the_others(checkpoint: Path) -> None:
    torch.set_num_threads(1)
    words = ["--relaxations=[IBP]", "--radii=[0,0.1]", "--samples=1", "--trainer.devices=2"]
    main(["tightness", "--ckpt_path", str(checkpoint), *words, "--trainer.strategy=ddp_fork"])
    assert curves()["samples"] == 1


def test_fast_dev_run_leaves_no_files(checkpoint: Path) -> None:
    before = files()
    main(["tightness", "--ckpt_path", str(checkpoint), "--trainer.fast_dev_run=true", "--radii=[0,0.1]"])
    assert files() == before


def test_a_picture_that_fails_leaves_the_one_before(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Figure, path: Path, **kwargs: Any) -> None:
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    run = RUN / "tightness/last"
    run.mkdir(parents=True)
    (run / "tightness.png").write_text("before")
    words = ["--relaxations=[IBP]", "--num_radii=2", "--samples=1"]
    with pytest.raises(OSError, match="disk full"):
        main(["tightness", "--ckpt_path", str(checkpoint), *words])
    assert (run / "tightness.png").read_text() == "before"
    assert not list(run.glob(".tightness*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--radii=[0.1]"], "radii is [0.1]; it must be at least two"),
        (["--radii=[0,0.1]", "--max_epsilon=0.1"], "give one of them"),
        (["--model.epsilon=0"], "max_epsilon is 0"),
        (["--samples=0"], "samples is 0; it must be at least 1"),
        (["--ckpt_path=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["--model.network=CNN3"], "network.conv1.weight is (2, 1, 5, 5) in the checkpoint and (8, 1, 5, 5)"),
    ],
)
def test_bad_input(words: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files()
    with pytest.raises(SystemExit, match="2"):
        main(["tightness", "--config", TINY, "--ckpt_path", str(checkpoint), *words])
    assert message in capsys.readouterr().err
    assert files() == before


def test_an_unknown_relaxation(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tightness", "--ckpt_path", str(checkpoint), "--relaxations=[IBP,DeepPoli]"])
    assert "DeepPoli" in capsys.readouterr().err


def test_weights_and_biases(checkpoint: Path, wandb: ModuleType, finished_run: Any) -> None:
    """The chart's table and the areas are in the files of the run."""
    saved = str(checkpoint.parents[1])
    words = ["--relaxations=[IBP,DeepPoly]", "--num_radii=3", "--samples=20"]
    main(["tightness", "--config", saved, "--config", "wandb.yaml", "--ckpt_path", str(checkpoint), *words])
    files = Path(wandb.run.dir)
    log = finished_run(files)
    content = curves()
    for name, entry in content["relaxations"].items():
        assert log.last[f"tightness/auc/{name}"] == pytest.approx(entry["auc"])
    assert "tightness/certified_accuracy" in log.charts
    (table,) = (files / "media/table").rglob("*.json")
    assert json.loads(table.read_text())["data"] == [
        [radius, name, accuracy]
        for name, entry in content["relaxations"].items()
        for radius, accuracy in zip(content["radii"], entry["certified_accuracy"], strict=True)
    ]
