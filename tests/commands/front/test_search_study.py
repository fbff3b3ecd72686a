"""The study that several processes share."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gls_lightning.commands.front.search_space import read_space
from gls_lightning.commands.front.search_study import Outcome, SearchStudy
from gls_lightning.errors import ConfigurationError

SPACE = read_space({"lr": {"low": 0.0, "high": 1.0}}, "space.yaml")


def study(folder: Path, sampler: str = "random", lr: float = 1.0) -> SearchStudy:
    return SearchStudy(folder, {"lr": lr}, sampler, seed=0)


def begun(of: SearchStudy, limit: int = 9) -> tuple[int, float]:
    trial = of.begin(SPACE, limit)
    assert trial is not None
    return trial[0], trial[1]["lr"]


def of_dead_process(folder: Path, number: int) -> None:
    """Lets a trial be one of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    content = {"host": socket.gethostname(), "process": process.pid}
    (folder / f"heartbeats/trial_{number}").write_text(json.dumps(content))


def test_the_limit_counts_trials_of_all_processes(tmp_path: Path) -> None:
    one, other = study(tmp_path), study(tmp_path)
    values = [begun(one, 3)[1], begun(other, 3)[1], begun(one, 3)[1]]
    assert len(set(values)) == 3  # with the same seed, no process repeats what another tries
    assert one.begin(SPACE, 3) is None
    assert other.begin(SPACE, 3) is None
    other.end(1, Outcome(None))
    assert one.begin(SPACE, 3) is None  # a failure counts
    assert one.failures() == 1


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_front(tmp_path: Path, sampler: str) -> None:
    first = study(tmp_path, sampler)
    assert first.front() == []
    for accuracies in ((0.5, 0.5), (0.9, 0.2), (0.4, 0.4), (0.5, 0.5), (0.6, 0.4)):
        first.end(begun(first)[0], Outcome(accuracies))
    again = study(tmp_path, sampler)
    assert [tuple(trial.values) for trial in again.front()] == [(0.5, 0.5), (0.6, 0.4), (0.9, 0.2)]
    assert [trial.number for trial in again.completed()] == [0, 1, 2, 3, 4]


def test_trials_of_a_dead_process_are_repeated_once(tmp_path: Path) -> None:
    dead, living = study(tmp_path), study(tmp_path)
    number, value = begun(dead, 2)
    kept, _ = begun(dead, 2)
    of_dead_process(tmp_path, number)
    third = study(tmp_path)
    again, same = begun(living, 2)
    assert same == value
    assert again not in (number, kept)
    assert third.begin(SPACE, 2) is None
    assert third.running() == [kept, again]
    assert third.failures() == 0
    dead.end(number, Outcome((1.0, 1.0)))  # it was not dead after all: too late
    assert third.completed() == []


def test_an_interrupted_trial_is_repeated(tmp_path: Path) -> None:
    one = study(tmp_path)
    number, value = begun(one, 1)
    one.abandon(number)
    assert begun(one, 1)[1] == value


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(ConfigurationError, match=r"differs in lr: lr is 1.0 there and 2.0 here; give another --output"):
        study(tmp_path, lr=2.0)
