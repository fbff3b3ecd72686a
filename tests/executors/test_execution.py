"""Jobs in processes of their own: how many at once, what a death costs, and SLURM by stand-ins for its commands."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common.waiting import until

from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Execution, Job, exclusive, run_gls, run_jobs, visible_gpus
from gls_lightning.executors.devices import share_of_machine


def run(folder: Path, *jobs: Job, execution: Execution | None = None) -> tuple[list[str], dict[str, str]]:
    """Runs jobs; their names in the order of their ends, and what was wrong."""
    ended: list[str] = []
    failures = run_jobs(jobs, folder, execution or Execution(), lambda job, failure: ended.append(job.name))
    return ended, failures


def test_each_job_has_its_own_process_log_and_share_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    wait = (
        "import os, time; time.sleep(1); print(*(os.environ[n] for n in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')))"
    )
    jobs = [Job(f"job{n}", subprocess.run, ([sys.executable, "-c", wait],)) for n in range(2)]
    start = time.monotonic()
    ended, failures = run(tmp_path, *jobs)
    assert not failures
    assert sorted(ended) == ["job0", "job1"]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert [(tmp_path / f"job{n}.log").read_text() for n in range(2)] == [f"2 {threads}\n", f"GPU-7 {threads}\n"]
    assert time.monotonic() - start < 20
    assert not list(tmp_path.glob(".submitit*"))


def test_no_more_at_once_than_jobs_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    alone = f"import os; os.mkdir('{tmp_path}/busy'); import time; time.sleep(0.3); os.rmdir('{tmp_path}/busy')"
    jobs = [Job(f"job{n}", exec, (alone,)) for n in range(3)]
    ended, failures = run(tmp_path / "logs", *jobs)
    assert (ended, failures) == (["job0", "job1", "job2"], {})


def test_jobs_that_are_no_longer_needed_are_ended(tmp_path: Path) -> None:
    pause = "import time; open('begun', 'w'); time.sleep(600)".replace("begun", f"{tmp_path}/begun")
    jobs = [Job("good", print, ("fine",)), Job("long", exec, (pause,)), Job("never", print, after=["long"])]
    ended: list[str] = []

    def enough() -> bool:
        return ended == ["good"] and (tmp_path / "begun").exists()

    assert run_jobs(jobs, tmp_path, Execution(jobs=2), lambda job, _: ended.append(job.name), enough) == {}
    assert ended == ["good"]


def test_a_death_and_an_error_cost_their_job_and_those_behind_it_alone(tmp_path: Path) -> None:
    ended, failures = run(
        tmp_path,
        Job(
            "killed",
            eval,
            ("(print('the last words', flush=True), __import__('os').kill(__import__('os').getpid(), 9))",),
        ),
        Job("behind", print, ("never",), after=["killed"]),
        Job("wrong", eval, ("1 / 0",)),
        Job("bad_input", run_gls, (["configs", "--show=nowhere.yaml"],)),
        Job("good", print, ("fine",)),
        Job("behind_good", print, ("fine, too",), after=["good"]),
        execution=Execution(jobs=4),
    )
    assert failures.keys() == {"killed", "behind", "wrong", "bad_input"}
    assert failures["killed"] == f"its process died; the end of {tmp_path}/killed.log:\n  the last words"
    assert failures["behind"] == "not started, because killed failed"
    assert failures["wrong"].splitlines()[-1] == "  ZeroDivisionError: division by zero"
    assert "gls configs ended with code 2; the end of" in failures["bad_input"]
    assert "there is no configuration nowhere.yaml" in failures["bad_input"]
    assert ended.index("good") < ended.index("behind_good")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_command_ends_all_jobs(tmp_path: Path, by: signal.Signals) -> None:
    code = f"""
from pathlib import Path
from gls_lightning.executors import Execution, Job, run_jobs
text = "import os, time; open('{tmp_path}/' + str(os.getpid()), 'w'); time.sleep(600)"
run_jobs([Job(n, exec, (text,)) for n in "ab"], Path("{tmp_path}/logs"), Execution(jobs=2), print)
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE) as command:
        until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2)
        command.send_signal(by)
        _, errors = command.communicate(timeout=120)
    assert command.returncode == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}[by]
    assert b"submitit" not in errors, "the processes in between say nothing"
    for process in tmp_path.glob("[0-9]*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


def test_what_is_done_in_a_folder_is_done_by_one_process(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from gls_lightning.executors import exclusive
with exclusive(Path("{tmp_path}")):
    print("in")
"""
    with exclusive(tmp_path):
        other = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == f"another process is at work in {tmp_path}; waiting for its end\n"
        assert other.poll() is None
    assert other.communicate(timeout=120)[0] == "in\n"


def test_slurm(tmp_path: Path, slurm: Path) -> None:
    ended, failures = run(
        tmp_path / "logs",
        Job("good", print, ("fine",)),
        Job("wrong", run_gls, (["nothing"],)),
        Job("behind", print, ("fine, too",), after=["good"]),
        execution=Execution(executor="slurm", slurm={"partition": "cards", "gpus_per_node": 1, "time": 30}),
    )
    assert sorted(ended) == ["behind", "good", "wrong"]
    assert failures.keys() == {"wrong"}
    assert "there is no command nothing" in failures["wrong"]
    assert (tmp_path / "logs/good.log").read_text() == "fine\n"
    scripts = [path.read_text() for path in slurm.glob("*.sh")]
    assert len(scripts) == 3
    for line in ("#SBATCH --partition=cards", "#SBATCH --gpus-per-node=1", "#SBATCH --time=30"):
        assert all(line in script for script in scripts)


def test_bad_options(tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="jobs is 0; it must be at least 1"):
        Execution(jobs=0)
    with pytest.raises(ConfigurationError, match="needs --executor=slurm"):
        Execution(slurm={"partition": "cards"})
    with pytest.raises(ConfigurationError, match="partitoin"):
        run(tmp_path, Job("a", print), execution=Execution(executor="slurm", slurm={"partitoin": "cards"}))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="there is no SLURM here"):
        run(tmp_path, Job("a", print), execution=Execution(executor="slurm"))


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: a (UUID: x)'\necho 'GPU 1: b (UUID: y)'\n")
    (tmp_path / "nvidia-smi").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert share_of_machine(3, 4, ["0", "1"]) == {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "3"}
