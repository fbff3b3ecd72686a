"""What commands find out about a checkpoint lies in its run, and a report shows it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from common.runs import STANDARD, tiny_run
from safetensors.torch import save_file

import gls_lightning
from gls_lightning.main import main

RUN = Path("runs/tiny/version_0")
LAST, BEST = RUN / "checkpoints/last.ckpt", RUN / "checkpoints/best-epoch=0.ckpt"

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory, *STANDARD).parents[1]


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy of a run in the working directory."""
    shutil.copytree(trained, "runs")
    return RUN


def test_of_each_checkpoint_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("test", "validate"):
        for checkpoint in (LAST, BEST):
            main([command, "--ckpt_path", str(checkpoint)])
    main(["tightness", "--ckpt_path", str(LAST), "--relaxations=[IBP]", "--num_radii=3", "--samples=20"])
    main(["certify", "--ckpt_path", str(LAST), "--samples=3"])
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    made = {str(path.parent.relative_to(run)) for path in run.rglob("*.json")}
    names = ("test/last", "test/best-epoch=0", "validate/last", "validate/best-epoch=0")
    assert made == {*names, "tightness/last", "certification/last"}
    assert f"metrics          {run / 'test/last/metrics.json'}" in capsys.readouterr().out
    content: dict[str, Any] = json.loads((run / "test/last/metrics.json").read_text())
    about = {"checkpoint": str(LAST), "network": "CNN3Tiny", "data": "Digits", "epsilon": 0.05, "samples": 50}
    assert {name: content[name] for name in about} == about
    assert set(content["metrics"]) == {f"test/{name}_accuracy" for name in ("natural", "certified", "adversarial")}

    main(["report", str(run)])
    page = (run / "report.md").read_text()
    natural = f"{100 * content['metrics']['test/natural_accuracy']:.2f}"
    assert f"| {LAST} | gls test | Digits | 50 | 0.05 | {natural} |" in page.replace("\\", "")
    tightness = json.loads((run / "tightness/last/tightness.json").read_text())["relaxations"]["IBP"]
    cells = [f"{tightness['auc']:.4f}", *(f"{100 * value:.2f}" for value in tightness["certified_accuracy"])]
    assert f"| IBP | {' | '.join(cells)} |" in page
    assert "### Tightness" in page
    assert "#### certification/last/" in page
    assert (run / "report_figures/run-1-tightness-0.png").read_bytes() == (
        run / "tightness/last/tightness.png"
    ).read_bytes()


def test_of_several_networks_in_one_folder(run: Path) -> None:
    """As those in benchmarks/checkpoints."""
    Path("checkpoints").mkdir()
    for name in ("one", "other"):
        save_file(gls_lightning.load(LAST).network.state_dict(), f"checkpoints/{name}.safetensors")
        words = [f"--ckpt_path=checkpoints/{name}.safetensors", "--samples=1", "--relaxations=[IBP]", "--num_radii=2"]
        main(["tightness", "--config", str(run), *words])
    assert {path.as_posix() for path in Path("tightness").iterdir()} == {"tightness/one", "tightness/other"}


def test_of_the_initialisation(run: Path) -> None:
    with pytest.warns(UserWarning, match="as it is initialised"):
        main(["test", "--config", str(run)])
    assert json.loads(Path("test/metrics.json").read_text())["checkpoint"] is None
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]


def test_tensorboard_writes_there_too(run: Path) -> None:
    main(["test", "--ckpt_path", str(LAST), "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs"])
    assert list((run / "test/last").glob("events.out.tfevents.*"))
    assert not Path("logs").exists()


def test_in_a_run_that_cannot_be_written_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "test").touch()
    with pytest.warns(UserWarning, match="The metrics are not kept in runs/tiny/version_0/test/last: Not a directory"):
        main(["test", "--ckpt_path", str(LAST)])
    assert "test/natural_accuracy" in capsys.readouterr().out


def test_a_trial_run_leaves_nothing(run: Path) -> None:
    main(["test", "--ckpt_path", str(LAST), "--trainer.fast_dev_run=true"])
    assert not (run / "test").exists()


def test_a_report_names_what_is_damaged(run: Path) -> None:
    for folder, text in {"test/last": "{", "validate/last": '{"metrics": 3}', "tightness/last": "[]"}.items():
        (run / folder).mkdir(parents=True)
        name = "tightness.json" if folder.startswith("tightness") else "metrics.json"
        (run / folder / name).write_text(text)
    main(["report", str(run)])
    page = (run / "report.md").read_text()
    for name in ("test/last/metrics.json", "validate/last/metrics.json", "tightness/last/tightness.json"):
        assert f"{name} is damaged: " in page
