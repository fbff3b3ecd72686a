"""A run that is resumed goes on in its own directory, and its files are those of a run that was never interrupted."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from gls_lightning.main import main
from gls_lightning.run_files.whole_file import append_whole

TINY = str(Path(__file__).parent / "configs" / "tiny.yaml")
FIT = ["fit", "--config", TINY, "--trainer.max_epochs=3", "--data.batch_size=16", "--recovery.every_n_train_steps=3"]
RUN = Path("runs/tiny/version_0")
LAST = RUN / "checkpoints/last.ckpt"

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, and what was on the disk after each of its checkpoints, in folders by their number."""
    folder = tmp_path_factory.mktemp("snapshots")
    save = Trainer.save_checkpoint
    number = 0

    def save_and_copy(trainer: Trainer, *args: Any, **options: Any) -> None:
        nonlocal number
        save(trainer, *args, **options)
        shutil.copytree("runs", folder / str(number) / "runs")
        number += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Trainer, "save_checkpoint", save_and_copy)
        main(FIT)
    return folder


@pytest.fixture
def place(snapshots: Path, tmp_path: Path) -> Callable[[str], None]:
    """Copies what was there after a checkpoint into the working directory."""
    return lambda number: shutil.copytree(snapshots / number / "runs", tmp_path / "runs") and None


def rows(run: Path) -> list[list[tuple[str, str]]]:
    """What was logged, row by row, in the order of the file."""
    with (run / "metrics.csv").open() as lines:
        return [sorted((name, value) for name, value in row.items() if value) for row in csv.DictReader(lines)]


def in_order(found: list[list[tuple[str, str]]]) -> list[list[tuple[str, str]]]:
    return sorted(found, key=lambda row: (int(dict(row)["step"]), row))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize("number", ["0", "1", "2", "3", "6"])
def test_from_any_checkpoint(number: str, place: Callable[[str], None], snapshots: Path) -> None:
    """0: within epoch 0; 1, 2: at its end; 3, 6: within later ones."""
    place(number)
    newest = max((RUN / "checkpoints").iterdir(), key=lambda file: file.stat().st_mtime)
    main([*FIT, "--ckpt_path", str(newest)])
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    whole = snapshots / RUN
    assert in_order(rows(RUN)) == in_order(rows(whole))
    assert {path.name for path in RUN.iterdir()} == {path.name for path in whole.iterdir()}
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == names
    for name in names:
        torch.testing.assert_close(
            tensors(RUN / "checkpoints" / name), tensors(whole / "checkpoints" / name), rtol=0, atol=0
        )


def test_from_an_earlier_checkpoint(snapshots: Path) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    before = rows(RUN)
    shutil.copy(snapshots / "0" / LAST, RUN / "checkpoints/early.ckpt")
    main([*FIT, "--ckpt_path", str(RUN / "checkpoints/early.ckpt")])
    assert in_order(rows(RUN)) == in_order(before)


def test_rows_of_later_steps_stay_until_a_checkpoint_replaces_theirs(
    snapshots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    before = rows(RUN)
    shutil.copy(snapshots / "0" / LAST, RUN / "checkpoints/early.ckpt")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save_checkpoint", killed)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # Lightning would ignore interrupts from the first one on
    with pytest.raises(SystemExit):
        main([*FIT, "--ckpt_path", str(RUN / "checkpoints/early.ckpt")])
    assert rows(RUN) == before


def test_in_a_directory_that_was_moved(snapshots: Path, tmp_path: Path) -> None:
    shutil.copytree(snapshots / "2" / RUN, tmp_path / "elsewhere/of_somebody")
    run = tmp_path / "elsewhere/of_somebody"
    main(["fit", "--ckpt_path", str(run / "checkpoints/last.ckpt")])
    assert [path.name for path in run.parent.iterdir()] == ["of_somebody"]
    assert not Path("runs").exists()
    assert in_order(rows(run)) == in_order(rows(snapshots / RUN))
    names = {path.name for path in (snapshots / RUN / "checkpoints").iterdir()}
    assert {path.name for path in (run / "checkpoints").iterdir()} == names


def test_for_longer(snapshots: Path) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    main(["fit", "--ckpt_path", str(LAST), "--trainer.max_epochs=4"])
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 4
    assert {dict(row)["epoch"] for row in rows(RUN)} == {"0", "1", "2", "3"}
    main(["fit", "--config", str(RUN / "config.yaml"), "--trainer.max_steps=1"])
    assert [path.name for path in Path("runs").rglob("version_*")] == [
        "version_0",
        "version_1",
    ]  # it names no directory


def test_of_a_version_that_knew_fewer_options(snapshots: Path) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    config["sigma_decay"] = {"factor": 0.4, "milestones": []}
    (RUN / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--ckpt_path", str(LAST), "--trainer.max_epochs=4"])
    assert [path.name for path in Path("runs").rglob("version_*")] == ["version_0"]
    assert {dict(row)["epoch"] for row in rows(RUN)} == {"0", "1", "2", "3"}


def test_with_another_configuration_it_is_another_run(snapshots: Path) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    before = rows(RUN)
    words = ["fit", "--ckpt_path", str(LAST), "--trainer.max_epochs=4"]
    for option, run in {
        "model.init_args.epsilon": RUN.with_name("version_1"),
        "trainer.logger.init_args.name": Path("runs/0.02/version_0"),
    }.items():
        with pytest.warns(UserWarning, match=f"in another directory than runs/tiny/version_0.*differs in .*{option}"):
            main([*words, f"--{option}=0.02"])
        assert {dict(row)["epoch"] for row in rows(run)} == {"3"}
    assert rows(RUN) == before


def test_where_nothing_can_be_written_it_is_another_run(snapshots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(snapshots / "runs", "runs")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != RUN and access(path, mode))
    with pytest.warns(UserWarning, match="runs/tiny/version_0 is not writable"):
        main(["fit", "--ckpt_path", str(LAST), "--trainer.max_epochs=4"])
    assert (RUN.with_name("version_1") / "checkpoints/last.ckpt").is_file()


def test_the_logger_of_earlier_versions(snapshots: Path) -> None:
    """Lightning's own logger would delete what is there."""
    shutil.copytree(snapshots / "3" / "runs", "runs")
    config = RUN / "config.yaml"
    config.write_text(config.read_text().replace("gls_lightning.csv_logger.RunCSVLogger", "CSVLogger"))
    main(["fit", "--ckpt_path", str(LAST)])
    assert in_order(rows(RUN)) == in_order(rows(snapshots / RUN))


def test_two_processes(snapshots: Path) -> None:
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    shutil.copytree(snapshots / "2" / "runs", "runs")  # within an epoch, batches of another size would not fit
    main(["fit", "--ckpt_path", str(LAST), "--trainer.devices=2", "--trainer.strategy=ddp_fork"])
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert [dict(row)["epoch"] for row in rows(RUN) if "val/loss" in dict(row)] == ["0", "1", "2"]


def test_a_line_that_a_killed_process_left_is_cut_off(snapshots: Path) -> None:
    shutil.copytree(snapshots / "3" / "runs", "runs")
    append_whole(RUN / "metrics.csv", b"1,0.05,0.00")
    main(["fit", "--ckpt_path", str(LAST)])
    assert in_order(rows(RUN)) == in_order(rows(snapshots / RUN))


def test_the_record_says_what_made_it(snapshots: Path) -> None:
    first = (snapshots / RUN / "config.yaml").read_text().splitlines()[0]
    assert first.startswith(f"# gls_lightning 0.1.0, torch {torch.__version__.partition('+')[0]}")
    config: dict[str, Any] = yaml.safe_load((snapshots / RUN / "config.yaml").read_text())
    assert config["trainer"]["logger"]["init_args"]["version"] is None
