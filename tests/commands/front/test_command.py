"""``gls front`` on tiny networks."""

import csv
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml
from common.runs import STANDARD, TINY
from optuna import create_study
from optuna.samplers import RandomSampler

from gls_lightning.commands.front import command, jobs
from gls_lightning.commands.front.search_space import read_space
from gls_lightning.main import main
from gls_lightning.run_files import FrontFile

HELD_OUT = ("--data.validation_size=50", *STANDARD)


class DoneJob:
    """A command that has run in this process, which takes no time to start."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.said = ""
        try:
            run()
        except SystemExit as error:
            self.said = f"code {error.code}"

    def done(self) -> bool:
        return True

    def failure(self) -> str:
        return self.said

    def cancel(self) -> None:
        pytest.fail("it was done")


def printed_here(words: Sequence[str]) -> dict[str, Any]:
    """Prints a configuration in this process."""
    text = StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        main([*words, "--print_config"])
    content: dict[str, Any] = yaml.safe_load(text.getvalue())
    return content


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text("model.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
    return tmp_path


@pytest.fixture
def in_this_process(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs trials in this process; the list gets their words."""
    started: list[list[str]] = []

    def submit(self: Any, words: Sequence[str], log: Path) -> DoneJob:
        started.append(list(words))
        return DoneJob(lambda: main(list(words)))

    monkeypatch.setattr(jobs.LocalProcesses, "submit", submit)
    monkeypatch.setattr(command, "_printed", printed_here)
    return started


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def search(*words: str) -> None:
    main(["front", TINY, "--space", "space.yaml", *HELD_OUT, *words])


def test_a_search_goes_on_and_its_points_are_tested_once(
    in_this_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    search("--trials=2", "--seeds=1", "--sampler", "random")
    front = FrontFile.read(Path("fronts/tiny/front.json"))
    assert [trial.number for trial in front.trials] == [0, 1]
    rates = [trial.values["model.optimizer.lr"] for trial in front.trials]
    assert [f"--model.optimizer.lr={rate}" in words for rate, words in zip(rates, in_this_process, strict=False)] == [
        True,
        True,
    ]
    assert all(0 <= trial.natural <= 1 for trial in front.trials)
    best = {(trial.natural, trial.certified) for trial in front.trials}
    assert {point.trial for point in front.points} <= {0, 1}
    assert 1 <= len(front.points) <= len(best)
    assert all(list(point.seeds) == [1] and len(point.test_certified) == 1 for point in front.points)
    tested = [words for words in in_this_process if words[0] == "test"]
    assert len(tested) == len(front.points)

    count = len(in_this_process)
    search("--trials=2", "--seeds=1", "--sampler", "random")
    assert len(in_this_process) == count  # nothing was left to do
    rows = rows_of(Path("fronts/tiny/front.csv"))
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert sum(row["on_front"] == "True" for row in rows) == len(front.points)
    assert "Points of the front" in Path("fronts/tiny/front.md").read_text()
    main(["report", "fronts/tiny"])
    assert "Hypervolume of the front" in Path("report.html").read_text()

    capsys.readouterr()
    with pytest.raises(SystemExit):
        search("--trials=3", "--sampler", "random", "--data.batch_size=16")
    assert "a search is that differs in data.init_args.batch_size" in capsys.readouterr().err


def test_a_failing_trial_costs_itself_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In processes of their own, as users run them."""
    monkeypatch.setattr(command, "_printed", printed_here)
    Path("space.yaml").write_text("data.train_size: {values: [64, 40]}\n")  # 40 leave none beside the 50 held out
    search("--trials=2", "--seeds=0", "--jobs=2", "--sampler=random", f"--seed={both_values_drawn()}")
    assert "failed: code 2, gls: data.validation_size is 50" in capsys.readouterr().out
    front = FrontFile.read(Path("fronts/tiny/front.json"))
    assert (len(front.trials), front.failed) == (1, 1)


def both_values_drawn() -> int:
    """A seed with which the first two trials differ."""
    space = read_space({"data.train_size": {"values": [64, 40]}}, "space.yaml")
    for seed in range(9):
        drawn = set()
        for number in range(2):
            sampler = RandomSampler(seed=crc32(f"{seed} {number}".encode()))
            drawn.add(space.suggest(create_study(sampler=sampler).ask())["data.train_size"])
        if len(drawn) == 2:
            return seed
    return pytest.fail("all seeds draw the same")


def test_no_images_are_held_out(in_this_process: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search("--data.validation_size=0")
    said = "data.validation_size is 0, so trials would be chosen on the test images"
    assert said in capsys.readouterr().err
    assert not Path("fronts").exists()


def test_a_wrong_key_is_told_before_the_search(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search("--data.validation_siz=9")
    said = capsys.readouterr().err
    assert said.startswith("gls: a trial would be refused: ")
    assert "validation_siz" in said
    assert not Path("fronts").exists()


def test_bad_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        ("--trials=0",): "trials is 0; it must be at least 1",
        ("--jobs=0",): "jobs is 0; it must be at least 1",
        ("--margin=2",): "margin is 2.0; it must be at least 0 and less than 1",
        ("--sampler=grid",): "sampler is grid; it must be one of tpe, nsga2, random",
    }.items():
        with pytest.raises(SystemExit):
            search(*words)
        assert message in capsys.readouterr().err


def test_only_dominated_runs_end_early_and_after_the_ramp(here: Path) -> None:
    callback = "--trainer.callbacks"
    for front, epochs in (("[[1.0, 1.0]]", 3), ("[[1.0, 0.0], [0.0, 1.0]]", 5)):
        run = Path("runs/tiny") / f"version_{0 if epochs == 3 else 1}"
        main(
            [
                *("fit", "--config", TINY, *HELD_OUT, "--trainer.max_epochs=5", "--epsilon_annealing.end_epoch=2"),
                *(f"{callback}+=gls_lightning.callbacks.EndOfDominatedRun", f"{callback}.front={front}"),
                f"{callback}.margin=0.01",
            ]
        )
        rows = rows_of(run / "metrics.csv")
        assert max(int(row["epoch"]) for row in rows) == epochs - 1
        assert (run / "pruned.txt").is_file() == (epochs == 3)
