"""``gls front`` on tiny networks, and with stand-ins for trainings."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO
from math import log10
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml
from common.runs import STANDARD, TINY
from common.waiting import until
from optuna import create_study, load_study
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from gls_lightning.commands.front import command, confirmation
from gls_lightning.commands.front import search as search_module
from gls_lightning.commands.front.heartbeat import Heartbeat
from gls_lightning.commands.front.search_space import read_space
from gls_lightning.executors import Job, RunningJobs
from gls_lightning.main import main
from gls_lightning.run_files import FrontFile

HELD_OUT = ("--data.validation_size=50", *STANDARD)
STAND_IN = """
import json, os, sys, time
from pathlib import Path

def value(name, words):
    return next((word.partition("=")[2] for word in words if word.startswith(f"--{name}=")), "")

def fit(words):
    place = (value(f"trainer.logger.{name}", words) for name in ("save_dir", "name", "version"))
    run = Path(*place)
    if Path("hang").exists():
        Path("hangs").write_text(str(os.getpid()))
        time.sleep(600)
    if value("data.train_size", words) == "40":
        print("gls: data.validation_size is 50", flush=True)
        os._exit(2)
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/last.ckpt").touch()
    (run / "metrics.csv").write_text("epoch,val/natural_accuracy,val/certified_accuracy\\n0,0.75,0.5\\n")

def test(words):
    run = Path(words[words.index("--ckpt_path") + 1]).parents[1]
    (run / "test/last").mkdir(parents=True)
    accuracies = {"test/natural_accuracy": 0.7, "test/certified_accuracy": 0.4}
    content = {"checkpoint": None, "network": "N", "data": "D", "epsilon": 0, "samples": 50, "metrics": accuracies}
    (run / "test/last/metrics.json").write_text(json.dumps(content))

if sys.orig_argv[1:4] == ["-P", "-m", "gls_lightning"]:
    words = sys.orig_argv[4:]
    if "--print_config" in words:
        print("trainer: {}", flush=True)
    else:
        {"fit": fit, "test": test}[words[0]](words)
    os._exit(0)
"""
"""Taken for ``gls`` in processes that jobs start; hangs while there is a file ``hang``."""


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


def run_here(monkeypatch: pytest.MonkeyPatch, gls: Callable[[list[str]], None]) -> list[list[str]]:
    """Lets jobs run in this process, where they take no time to start; the list gets the words of their commands."""
    started: list[list[str]] = []

    def run_gls(words: Sequence[str], lock: int | None = None) -> None:
        started.append(list(words))
        gls(list(words))

    def start(self: RunningJobs, job: Job) -> None:
        job.function(*job.arguments)
        self.running[job.name] = (0, job, None)  # type: ignore[assignment]

    def collect(self: RunningJobs) -> Iterator[tuple[Job, str | None]]:
        ended = list(self.running.values())
        self.running.clear()
        yield from ((job, None) for _, job, _ in ended)

    monkeypatch.setattr(RunningJobs, "start", start)
    monkeypatch.setattr(RunningJobs, "collect", collect)
    monkeypatch.setattr(search_module, "run_gls", run_gls)
    monkeypatch.setattr(confirmation, "run_gls", run_gls)
    monkeypatch.setattr(command, "resolve", lambda lines, whose: [printed_here(words) for words in lines])
    return started


@pytest.fixture
def stand_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the stand-in in place of ``gls`` in processes that jobs start."""
    (here / "site").mkdir()
    (here / "site/sitecustomize.py").write_text(STAND_IN)
    paths = [str(here / "site"), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def trials_of(directory: str) -> list[FrozenTrial]:
    """All trials in the journal of a search."""
    storage = JournalStorage(JournalFileBackend(f"{directory}/study.journal"))
    return load_study(study_name="front", storage=storage).trials


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def search(*words: str) -> None:
    main(["front", TINY, "--space", "space.yaml", *HELD_OUT, *words])


def test_a_search_goes_on_and_its_points_are_tested_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started, beaten = run_here(monkeypatch, main), set[str]()
    monkeypatch.setattr(Heartbeat, "beat", lambda self: beaten.add(self.path.name))
    search("--trials=2", "--seeds=1", "--sampler", "random")
    front = FrontFile.read(Path("fronts/tiny/front.json"))
    assert [trial.number for trial in front.trials] == [0, 1]
    rates = [trial.values["model.optimizer.lr"] for trial in front.trials]
    assert all(f"--model.optimizer.lr={rate}" in words for rate, words in zip(rates, started, strict=False))
    assert ["--trainer.callbacks.patience=0.5" in words for words in started[:3]] == [True, True, False]
    assert all(0 <= trial.natural <= 1 for trial in front.trials)
    best = {(trial.natural, trial.certified) for trial in front.trials}
    assert {point.trial for point in front.points} <= {0, 1}
    assert 1 <= len(front.points) <= len(best)
    assert all(list(point.seeds) == [1] and len(point.test_certified) == 1 for point in front.points)
    assert beaten == {"trial_0", "trial_1", "points"}, "others would take it for dead"
    tested = [words for words in started if words[0] == "test"]
    assert len(tested) == len(front.points)

    count = len(started)
    search("--trials=2", "--seeds=1", "--sampler", "random")
    assert len(started) == count  # nothing was left to do
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


def test_a_failing_trial_costs_itself_alone(stand_in: None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("data.train_size: {values: [64, 40]}\n")  # 40 leave none beside the 50 held out
    search("--trials=2", "--seeds=0", "--jobs=2", "--sampler=random", f"--seed={both_values_drawn()}")
    said = capsys.readouterr().out
    assert "failed: gls fit ended with code 2; the end of fronts/tiny/logs/trial_" in said
    assert "  gls: data.validation_size is 50" in said
    front = FrontFile.read(Path("fronts/tiny/front.json"))
    assert (len(front.trials), front.failed) == (1, 1)
    assert [(point.trial, list(point.seeds)) for point in front.points] == [(front.trials[0].number, [])]


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


def test_nsga2_killed_in_its_second_generation_goes_on_in_another_process(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(words: list[str]) -> None:
        rate, run = (next(w for w in words if key in w).partition("=")[2] for key in ("optimizer.lr", "version"))
        if run == "trial_12" and Path("hang").exists():
            Path("hangs").touch()
            until(lambda: False)
        directory, share = Path("fronts/tiny/trials", run), -log10(float(rate)) - 2  # from 0 to 2
        directory.mkdir(parents=True)
        accuracies = f"{min(0.4, share / 3)},{min(0.4, (2 - share) / 3)}"  # the front lies in the middle
        content = f"epoch,val/natural_accuracy,val/certified_accuracy\n0,{accuracies}\n"
        (directory / "metrics.csv").write_text(content)

    run_here(monkeypatch, train)
    keys = ("lr", "weight_decay", "eps")
    Path("space.yaml").write_text(
        "".join(f"model.optimizer.{key}: {{low: 1.0e-4, high: 1.0e-2, log: true}}\n" for key in keys)
    )
    words = ("--trials=22", "--seeds=0", "--sampler=nsga2", "--margin=null")
    Path("hang").touch()
    process = get_context("fork").Process(target=search, args=words)
    process.start()
    until(Path("hangs").exists)
    process.kill()
    process.join()
    Path("hang").unlink()
    search(*words)

    trials = trials_of("fronts/tiny")
    assert [trial.number for trial in trials if trial.state != TrialState.COMPLETE] == [12]
    assert trials[13].params == trials[12].params, "it was given to the second process"
    generations = [trial.system_attrs.get("NSGAIISampler:generation") for trial in trials]
    assert generations == [0] * 10 + [1] * 3 + [None] + [1] * 8 + [2], "Optuna counts the given trial in none"
    parents = {value for trial in trials[:10] for value in trial.params.values()}
    inherited = [value in parents for trial in trials[10:21] for value in trial.params.values()]
    assert sum(inherited) / len(inherited) > 0.5, "the sampler mutates one value of three"
    assert len(FrontFile.read(Path("fronts/tiny/front.json")).trials) == 22


def test_an_interrupted_search_goes_on_with_slurm(stand_in: None, slurm: Path) -> None:
    words = ["front", TINY, "--space=space.yaml", "--trials=1", "--seeds=1"]
    Path("hang").touch()
    with subprocess.Popen([sys.executable, "-c", "from gls_lightning.main import main; main()", *words]) as process:
        until(lambda: Path("hangs").exists() and Path("hangs").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("hangs").read_text()), 0)
    Path("hang").unlink()

    main([*words, "--executor=slurm", "--jobs=1", "--slurm.partition=cards", "--slurm.time", "30"])
    interrupted, repeated = trials_of("fronts/tiny")
    assert interrupted.state == TrialState.FAIL
    assert interrupted.params == repeated.params
    front = FrontFile.read(Path("fronts/tiny/front.json"))
    assert (front.trials[0].natural, front.trials[0].certified, front.failed) == (0.75, 0.5, 0)
    assert (front.points[0].seeds, front.points[0].test_certified) == ((1,), (0.4,))
    scripts = [path.read_text() for path in slurm.glob("*.sh")]
    assert len(scripts) == 3, "the trial, its repetition and the test"
    assert all("--partition=cards" in script and "--time=30" in script for script in scripts)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.validation_size=0", "data.validation_size is 0, so the test images would choose"),
        ("--first_stage=first.yaml", "first_stage is first.yaml, the network that this one starts from: train it and"),
    ],
)
def test_a_configuration_that_cannot_be_searched(
    option: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_here(monkeypatch, main)
    with pytest.raises(SystemExit):
        search(option)
    assert said in capsys.readouterr().err
    assert not Path("fronts").exists()


def test_a_wrong_key_is_told_before_the_search(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search("--data.validation_siz=9")
    said = capsys.readouterr().err
    assert said.startswith("gls: gls fit refuses the options of a trial: ")
    assert "validation_siz" in said
    assert not Path("fronts").exists()


def test_bad_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        ("--trials=0",): "trials is 0; it must be at least 1",
        ("--jobs=0",): "jobs is 0; it must be at least 1",
        ("--margin=2",): "margin is 2.0; it must be at least 0 and less than 1",
        ("--patience=2",): "patience is 2.0; it must be from 0 to 1",
        ("--executor=slurm",): "jobs is null, so all trials would start at once, and tpe would learn from none",
        ("--slurm.time=3",): "slurm is {'time': 3}, which needs --executor=slurm",
        ("--sampler=grid",): "sampler is grid; it must be one of tpe, nsga2, random",
    }.items():
        with pytest.raises(SystemExit):
            search(*words)
        assert message in capsys.readouterr().err
