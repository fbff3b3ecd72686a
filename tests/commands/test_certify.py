"""``gls certify``, driven as users do."""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from shutil import copytree
from types import ModuleType
from typing import Any

import pytest
import torch
from common.runs import STANDARD, tiny_run
from common.waiting import until
from safetensors.torch import load_file

import gls_lightning
from gls_lightning.certification.record_line import encode
from gls_lightning.data import Digits
from gls_lightning.main import main

RUN = Path("runs/tiny/version_0")
SLOW = """
import time

from gls_lightning.relaxations import IBP


class Slow(IBP):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, *problem):
        time.sleep(self.seconds)
        return super().__call__(*problem)
"""

FALSE_PROOF = """
from gls_lightning.relaxations import IBP


class FalseProof(IBP):
    def __call__(self, *problem):
        return super().__call__(*problem) + 3
"""

DEADLY = """
import os, signal, time
from pathlib import Path

from gls_lightning.relaxations import IBP


class Deadly(IBP):
    # Waits until two workers are there, and dies of one of the images.
    def __init__(self, lower: float) -> None:
        super().__init__()
        self.lower = lower

    def __call__(self, graph, tensors, box, specification):
        while len(list(Path("out").glob("records-*"))) < 2:
            time.sleep(0.05)
        if Path("deadly").exists() and abs(box.lower.sum().item() - self.lower) < 1e-9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(graph, tensors, box, specification)
"""

HANGING = """
import os, sys, time

if sys.orig_argv[1:4] == ["-P", "-m", "gls_lightning"]:
    open(f"worker_{os.getpid()}", "w").write(" ".join(sys.orig_argv[4:]))
    time.sleep(600)
"""

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run that learns some of the digits."""
    length = ["--trainer.max_epochs=4", "--trainer.limit_val_batches=0", "--data.train_size=1000"]
    run = tiny_run(tmp_path_factory, *STANDARD, "--model.optimizer.lr=0.02", *length)
    return run / "checkpoints/last.ckpt"


def certify(checkpoint: Path, *words: str, output: str | None = "out") -> list[dict[str, Any]]:
    """Runs the command; the records of all files, in the order of the samples."""
    main(["certify", "--ckpt_path", str(checkpoint), *([f"--output={output}"] if output else []), *words])
    return records(output or checkpoint.parents[1] / "certification/last")


def records(folder: str | Path) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in Path(folder).glob("records-*.jsonl")]
    found = [json.loads(line) for text in texts for line in text.split("\n")[1:-1]]
    for record in found:
        del record["check"]
    return sorted(found, key=lambda record: record["index"])


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "seconds": None, "margin": pytest.approx(record["margin"])} for record in found]


def summary(folder: str = "out") -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text(), parse_constant=pytest.fail)


def slow(seconds: float) -> list[str]:
    """Options with which each batch of up to 3 samples takes so long."""
    Path("slow.py").write_text(SLOW)
    certifier = {"batch_size": 3, "use_attack": False}
    certifier["relaxations"] = [{"class_path": "Slow", "init_args": {"seconds": seconds}}]
    described = json.dumps({"class_path": "Certifier", "init_args": certifier})
    return ["--imports=[slow]", "--epsilon=0.01", f"--certifier={described}"]


def start(checkpoint: Path, *words: str, output: str = "out") -> BaseProcess:
    """The command in a process of its own, which is forked, because starting one anew takes seconds."""
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    command = ["certify", "--ckpt_path", str(checkpoint), f"--output={output}", *words]
    process = get_context("fork").Process(target=main, args=(command,), daemon=True)
    process.start()
    return process


def wait_for_records(process: BaseProcess, number: int, folder: str) -> None:
    deadline = time.monotonic() + 120
    while not list(Path(folder).glob("records-*.jsonl")) or len(records(folder)) < number:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended_with_1(checkpoint: Path, *words: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        certify(checkpoint, *words)
    assert str(exit_.value.code).startswith("gls: ")  # a text, which Python prints before it ends with 1
    print(exit_.value.code, file=sys.stderr)


def refused(capsys: pytest.CaptureFixture[str], checkpoint: Path, *words: str) -> str:
    """The one line with which the command fails."""
    with pytest.raises(SystemExit) as exit_:
        certify(checkpoint, *words)
    assert exit_.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    return line


@pytest.fixture
def test_set(checkpoint: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.nn.Module]:
    """Images, labels, the network's predictions, and the network, in float64."""
    network = gls_lightning.load(checkpoint).network.double().eval()
    x, y, _ = next(iter(Digits(batch_size=50, test_size=50).test_dataloader()))
    return x.double(), y, network(x.double()).argmax(1), network


def test_decides_every_sample_and_says_how(checkpoint: Path, test_set: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = certify(checkpoint, "--counterexamples=true", output=None)
    images, labels, predictions, network = test_set
    assert [record["index"] for record in found] == list(range(50))
    assert [record["label"] for record in found] == labels.tolist()
    assert [record["prediction"] for record in found] == predictions.tolist()
    verdicts = Counter(record["verdict"] for record in found)
    assert verdicts.keys() == {"certified", "falsified", "misclassified"}
    assert verdicts["misclassified"] == (labels != predictions).sum()
    folder = checkpoint.parents[1] / "certification/last"
    points = {path: load_file(path)["counterexample"] for path in (folder / "counterexamples").iterdir()}
    assert {int(path.stem) for path in points} == {r["index"] for r in found if r["verdict"] == "falsified"}
    for path, point in points.items():
        index = int(path.stem)
        assert point.dtype == torch.double
        assert ((point - images[index]).abs() <= 0.05 + 1e-12).all()
        assert ((point >= 0) & (point <= 1)).all()
        logits = network(point[None])[0]
        assert (logits.index_fill(0, labels[index], -torch.inf).max() >= logits[labels[index]]).item()
    printed = capsys.readouterr().out
    for text in ("CNN3Tiny: 50 test images of Digits, epsilon 0.05", "by PGD", "hard", str(folder / "summary.json")):
        assert text in printed


def test_summary_agrees_with_the_records(checkpoint: Path) -> None:
    found = certify(checkpoint, "--start=5", "--samples=30")
    content = summary()
    natural = sum(record["label"] == record["prediction"] for record in found) / 30
    falsified = sum(record["verdict"] == "falsified" for record in found) / 30
    assert content["natural_accuracy"] == pytest.approx(natural)
    assert content["adversarial_accuracy"] == pytest.approx(natural - falsified)
    assert content["certified_accuracy"] == sum(record["verdict"] == "certified" for record in found) / 30
    low, high = content["intervals"]["natural_accuracy"]
    assert low < natural < high
    assert content["total"]["seconds"] == pytest.approx(sum(record["seconds"] for record in found))
    stages = Counter(record["stage"] for record in found)
    assert {name: stage["samples"] for name, stage in content["stages"].items()} == stages
    assert sum(stage["share"] for stage in content["stages"].values()) == pytest.approx(1)
    assert (content["checkpoint"], content["missing"]) == (str(checkpoint), 0)
    (certifier,) = content["certifiers"]
    assert list(certifier["stages"])[-1] == "BranchAndBound"
    assert certifier["stages"]["BranchAndBound"]["time_limit"] == 100
    assert certifier["stages"]["PGD"] == certifier["stages"]["PGD"] | {"class": "PGD", "steps": 40, "seed": 0}
    assert not Path("runs").exists()
    assert content["fingerprint"]["epsilon"] == 0.05


class TestResuming:
    def test_after_kill_9_nothing_decided_is_decided_again(self, checkpoint: Path) -> None:
        words = slow(0.25)
        process = start(checkpoint, *words, output="killed")
        wait_for_records(process, 7, "killed")
        process.kill()
        process.join()
        assert len(records("killed")) < 40, "the process was too fast"
        (file,) = Path("killed").glob("records-*.jsonl")
        with file.open("a") as torn:
            torn.write('{"index": 49, "lab')
        words = [word.replace("0.25", "0.0") for word in words]
        killed = certify(checkpoint, *words, output="killed")
        assert [record["index"] for record in killed] == list(range(50)), "each sample once"
        assert timeless(killed) == timeless(certify(checkpoint, *words, output="whole"))
        assert {record["verdict"] for record in killed} == {"certified", "unknown", "misclassified"}
        assert summary("killed")["missing"] == 0

    def test_shards_add_up(self, checkpoint: Path) -> None:
        certify(checkpoint, "--start=30")
        certify(checkpoint, "--end=20")
        assert (summary()["total"]["samples"], summary()["missing"]) == (40, 0)
        shards = certify(checkpoint)
        assert len(list(Path("out").glob("records-*.jsonl"))) == 3
        assert timeless(shards) == timeless(certify(checkpoint, output="whole"))
        assert (summary()["total"]["samples"], summary()["missing"]) == (50, 0)

    def test_says_what_is_missing(self, checkpoint: Path) -> None:
        certify(checkpoint, "--stages=[IBP]")
        (file,) = Path("out").glob("*.jsonl")
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:17]))
        with pytest.warns(UserWarning, match="34 samples that were to be certified have no record yet"):
            certify(checkpoint, "--stages=[IBP]", "--samples=1")
        assert summary()["missing"] == 34

    def test_two_processes_decide_as_one(self, checkpoint: Path) -> None:
        torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
        words = ["--start=1", "--certifier=Certifier", "--certifier.batch_size=7"]
        two = certify(checkpoint, *words, "--trainer.devices=2", "--trainer.strategy=ddp_fork", output="two")
        assert {p.name for p in Path("two").glob("*.jsonl")} <= {f"records-1-50-rank{rank}.jsonl" for rank in (0, 1)}
        assert timeless(two) == timeless(certify(checkpoint, *words, output="one"))
        assert summary("two")["total"]["samples"] == 49

    def test_unknown_samples_are_retried_on_request(self, checkpoint: Path) -> None:
        first = certify(checkpoint, "--stages=[]")
        assert {record["verdict"] for record in first} == {"unknown", "misclassified"}
        assert certify(checkpoint) == first
        retried = certify(checkpoint, "--retry_unknown=true")
        unknown = [record["index"] for record in first if record["verdict"] == "unknown"]
        assert [record["index"] for record in retried] == sorted([*range(50), *unknown])
        assert summary()["verdicts"]["unknown"]["samples"] == 0
        assert certify(checkpoint, "--retry_unknown=true") == retried

    def test_commands_at_once_share_what_is_retried(self, checkpoint: Path) -> None:
        first = certify(checkpoint, "--epsilon=0.01", "--stages=[]")
        unknown = [record["index"] for record in first if record["verdict"] == "unknown"]
        process = start(checkpoint, *slow(0.2), "--retry_unknown=true")
        wait_for_records(process, 50 + 10, "out")  # of which some stay unknown, and are not tried once more
        certify(checkpoint, *slow(0.2), "--retry_unknown=true")
        process.join()
        assert [record["index"] for record in records("out")] == sorted([*range(50), *unknown])
        assert 0 < summary()["verdicts"]["unknown"]["samples"] < len(unknown)

    def test_missing_counterexamples_are_found_on_request(self, checkpoint: Path) -> None:
        certify(checkpoint)
        falsified = summary()["verdicts"]["falsified"]["samples"]
        assert len(certify(checkpoint, "--counterexamples=true")) == 50 + falsified
        assert len(list(Path("out/counterexamples").iterdir())) == falsified
        assert len(certify(checkpoint, "--counterexamples=true")) == 50 + falsified

    @pytest.mark.parametrize("commands", [[(), ()], [("--start=10",), ("--end=40",), ()]])
    def test_commands_at_once_share_the_work(self, commands: list[tuple[str, ...]], checkpoint: Path) -> None:
        processes = [start(checkpoint, *slow(0.2), *words) for words in commands]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(commands)
        assert [record["index"] for record in records("out")] == list(range(50)), "each sample once"
        assert len(list(Path("out").glob("records-*.jsonl"))) == len(commands), "all had a share"
        assert (summary()["total"]["samples"], summary()["missing"]) == (50, 0), "whoever ended last knew all"

    def test_who_finds_nothing_left_says_that_others_are_at_work(self, checkpoint: Path) -> None:
        process = start(checkpoint, *slow(60.0), "--samples=1")
        wait_for_records(process, 0, "out")
        with pytest.warns(
            UserWarning, match="1 samples .* have no record yet; other processes are deciding 1 of them now"
        ):
            assert certify(checkpoint, *slow(0.0), "--samples=1") == []
        assert not Path("out/summary.json").exists()
        process.kill()
        process.join()
        assert len(certify(checkpoint, *slow(0.0), "--samples=1")) == 1, "claims die with their process"

    @pytest.mark.slow
    def test_kills_at_random_moments_lose_and_repeat_nothing(self, checkpoint: Path) -> None:
        generator, found, kills = random.Random(0), list[dict[str, Any]](), 0
        while len(found) < 50:
            processes = [start(checkpoint, *slow(0.2), "--counterexamples=true") for _ in range(2)]
            count, more = len(records("out")), generator.randrange(1, 8)
            while len(records("out")) < min(50, count + more) and any(process.is_alive() for process in processes):
                time.sleep(0.01)
            for process in processes:
                kills += process.is_alive()
                process.kill()
                process.join()
            assert [record for record in records("out") if record in found] == found, "a record was lost"
            found = records("out")
        assert [record["index"] for record in found] == list(range(50)), "a sample was decided twice"
        assert kills > 10


class TestWorkers:
    def test_a_death_costs_its_sample_alone_and_slurm_goes_on(
        self, checkpoint: Path, test_set: Any, slurm: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images, labels, predictions, _ = test_set
        last = (labels == predictions).nonzero().max()
        lower = (images[last] - 0.01).clamp(0, 1).sum().item()
        Path("deadly.py").write_text(DEADLY)
        Path("deadly").touch()
        relaxations = [{"class_path": "Deadly", "init_args": {"lower": lower}}]
        certifier = {"batch_size": 1, "use_attack": False, "relaxations": relaxations}
        described = json.dumps({"class_path": "Certifier", "init_args": certifier})
        words = ["--imports=[deadly]", f"--certifier={described}", "--epsilon=0.01", f"--end={last + 1}"]
        with pytest.warns(UserWarning, match="^1 samples that were to be certified have no record yet.$"):
            ended_with_1(checkpoint, *words, "--jobs", "2")
        assert [record["index"] for record in records("out")] == list(range(last)), "the two shared the work"
        assert len(list(Path("out").glob("records-*"))) == 2
        assert (summary()["total"]["samples"], summary()["missing"]) == (last, 1)
        printed = capsys.readouterr()
        assert ": gls certify was ended by SIGKILL; the end of out/logs/worker_" in printed.out
        line = printed.err.splitlines()[-1]
        assert line.startswith("gls: 1 samples are still open, because worker_")
        assert line.endswith(" failed; the same command goes on")
        assert printed.out.count("CNN3Tiny: ") == 1, "one summary of all"

        Path("deadly").unlink()
        certify(checkpoint, *words, "--executor=slurm", "--slurm.partition=cards")
        (script,) = slurm.glob("*.sh")
        assert "#SBATCH --partition=cards" in script.read_text()
        assert timeless(records("out")) == timeless(certify(checkpoint, *words, output="alone"))
        shared, alone = summary("out"), summary("alone")
        for name in ("natural_accuracy", "certified_accuracy", "intervals", "certifiers", "fingerprint", "missing"):
            assert shared[name] == alone[name]
        assert shared["options"] == alone["options"] | {"output": "out"}
        assert shared["certified_accuracy"] > 0
        assert "still open" not in capsys.readouterr().err

    @pytest.fixture
    def hanging(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Workers that do nothing."""
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(HANGING)
        path = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    @staticmethod
    def no_worker_is_left(folder: Path) -> bool:
        for file in folder.glob("worker_*"):
            with pytest.raises(ProcessLookupError):
                os.kill(int(file.name.removeprefix("worker_")), 0)
        return True

    @pytest.mark.usefixtures("hanging")
    def test_none_is_waited_for_when_all_is_decided(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gls_lightning.commands.certify.workers._SECONDS_TO_END", 0.0)
        process = start(checkpoint, "--jobs=1", "--samples=3")
        until(lambda: list(tmp_path.glob("worker_*")))
        certify(checkpoint, "--samples=3")
        process.join(120)
        assert process.exitcode == 0
        assert self.no_worker_is_left(tmp_path)

    @pytest.mark.usefixtures("hanging")
    @pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
    def test_the_end_of_the_command_ends_all(self, by: signal.Signals, checkpoint: Path, tmp_path: Path) -> None:
        process = start(checkpoint, "--jobs=2", "--samples=3")
        until(lambda: len(list(tmp_path.glob("worker_*"))) == 2)
        assert process.pid is not None
        os.kill(process.pid, by)
        process.join(120)
        assert process.exitcode == {signal.SIGINT: 1, signal.SIGTERM: 143}[by]
        assert self.no_worker_is_left(tmp_path)
        words = f"certify --ckpt_path {checkpoint} --output=out --samples=3 --trainer.logger=false"
        assert all(file.read_text().startswith(words) for file in tmp_path.glob("worker_*"))

    def test_where_nothing_is_open_none_starts(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("false_proof.py").write_text(FALSE_PROOF)
        words = ["--imports=[false_proof]", "--certifier=Certifier", "--certifier.relaxations=[FalseProof]"]
        ended_with_1(checkpoint, *words)
        alone = capsys.readouterr()
        ended_with_1(checkpoint, *words, "--jobs=2")
        assert not Path("out/logs").exists()
        shared = capsys.readouterr()
        assert shared.out == alone.out
        assert shared.err.splitlines()[-1] == alone.err.splitlines()[-1]

    def test_no_configuration_says_where_jobs_run(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run that was found could have SLURM run commands."""
        copytree(checkpoint.parents[1], "found")
        config = Path("found/config.yaml")
        config.write_text(config.read_text() + "executor: slurm\nslurm: {setup: [touch here]}\n")
        said = refused(capsys, Path("found/checkpoints/last.ckpt"), "--jobs=2")
        assert said == "gls: executor is slurm in a configuration; only the option --executor says it"


class TestErrors:
    def test_a_false_proof_is_an_error_of_its_samples_and_the_others_go_on(
        self, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("false_proof.py").write_text(FALSE_PROOF)
        words = ["--imports=[false_proof]", "--certifier=Certifier", "--certifier.relaxations=[FalseProof]"]
        assert ended_with_1(checkpoint, *words) is None
        found = records("out")
        errors = {record["index"]: record["reason"] for record in found if record["verdict"] == "error"}
        assert errors
        assert {record["verdict"] for record in found} > {"certified", "falsified", "misclassified", "error"}
        assert [record["index"] for record in found] == list(range(50))
        assert set(errors.values()) == {
            "after FalseProof, a lower bound lies above the network's own value at a point of the box: a relaxation or "
            "the network's tracing is wrong"
        }
        assert summary()["errors"] == {str(index): reason for index, reason in errors.items()}
        assert summary()["verdicts"]["error"]["samples"] == len(errors)
        printed = capsys.readouterr()
        line = printed.err.splitlines()[-1]
        assert line.endswith("; out/summary.json lists all")
        assert line.startswith(f"gls: certification failed at {len(errors)} samples ({min(errors)}, ")
        assert f"; at sample {min(errors)}: after FalseProof, a lower bound lies" in line
        assert "by FalseProof" in printed.out

    def test_records_that_contradict_each_other(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        certify(checkpoint, "--samples=40")
        (file,) = Path("out").glob("records-*.jsonl")
        header, *lines = file.read_text().splitlines()
        certified = [json.loads(line) for line in lines if '"certified"' in line]
        lies = [{**record, "verdict": "falsified", "margin": -0.5} for record in certified[:2]]
        for record in lies:
            del record["check"]
        content = b"".join([header.encode() + b"\n", *map(encode, lies)])
        file.with_name("records-elsewhere.jsonl").write_bytes(content)
        before = len(records("out"))
        ended_with_1(checkpoint, "--retry_unknown=true")
        assert len(records("out")) == before + 10, "it went on with what was open, and only with that"
        reason = "{0} says certified ({1}) and {2} falsified ({1}): one of the stages is wrong"
        reasons = [reason.format(file.name, lie["stage"], "records-elsewhere.jsonl") for lie in lies]
        assert list(summary()["errors"].values()) == reasons
        assert summary()["total"]["samples"] == 50
        failed = ", ".join(str(lie["index"]) for lie in lies)
        assert f"gls: certification failed at 2 samples ({failed}); at sample " in capsys.readouterr().err
        file.with_name("records-elsewhere.jsonl").unlink()
        assert len(certify(checkpoint)) == 50
        assert summary()["errors"] == {}


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--epsilon=0.06"], "out holds records that differ in epsilon (0.05 there, 0.06 here); choose another"),
            (["--data.test_size=49"], "differ in test_images (50 there, 49 here), images ("),
        ],
    )
    def test_another_radius_or_data_set(
        self, words: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        certify(checkpoint, "--samples=3")
        before = {path: path.read_bytes() for path in Path("out").iterdir()}
        assert message in refused(capsys, checkpoint, "--samples=3", *words)
        assert before == {path: path.read_bytes() for path in Path("out").iterdir()}

    def test_a_damaged_record(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        certify(checkpoint, "--samples=3")
        (file,) = Path("out").glob("records-*.jsonl")
        content = file.read_text()
        line = 1 + next(n for n, text in enumerate(content.splitlines()) if '"index": 2' in text)
        outside = "index is 50; the test set has 50 samples, counted from 0; remove the line"
        huge = "end is 100000000000.0; it must be above start, which is 0, and at most 50; remove the file"
        for number, old, new, message in [
            (line, '"index": 2', '"index": 50', outside),
            (1, '"end": 3', '"end": 1e11', huge),
        ]:
            file.write_text(content.replace(old, new))
            assert refused(capsys, checkpoint, "--samples=4") == f"gls: {file}, line {number}: {message}"
        file.write_text(content)
        assert len(certify(checkpoint, "--samples=4")) == 4

    def test_other_weights(self, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        certify(checkpoint, "--samples=3")
        content = torch.load(checkpoint, weights_only=True)
        content["state_dict"]["network.output.bias"][0] += 1e-6
        torch.save(content, "other.ckpt")
        message = refused(capsys, Path("other.ckpt"), "--samples=3", "--config", str(checkpoint.parents[1]))
        assert "differ in weights (" in message

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--samples=0"], "samples is 0; it must be at least 1"),
            (["--start=-1"], "start is -1; it must be at least 0"),
            (["--start=50"], "start is 50; it must be below 50, the number of test images"),
            (["--end=51"], "end is 51; it must be at most 50, the number of test images"),
            (["--start=9", "--end=9"], "end is 9; it must be above start, which is 9"),
            (["--samples=3", "--end=9"], "samples is 3 and end is 9; give one of them"),
            (["--epsilon=1.5"], "epsilon is 1.5; a radius"),
            (["--epsilon=.nan"], "epsilon is .nan; it must be a number"),
            (["--time_limit=0"], "time_limit is 0.0; it must be positive"),
            (["--time_limit=3", "--certifier=Certifier"], "time_limit is 3.0, which a certifier has its own of"),
            (["--stages=[DeepPoly,Crown]"], "stages contains Crown; the certifier has natural, PGD, IBP, CROWNIBP,"),
            (["--output=file"], "output is file, which is a file; it must be a directory"),
            (["--output=/proc"], "output is /proc"),
            (["--trainer.limit_test_batches=0.5"], "trainer.limit_test_batches do not apply; use --samples"),
            (["--trainer.fast_dev_run=true"], "trainer.limit_test_batches do not apply; use --samples"),
            (["--jobs=0"], "jobs is 0; it must be at least 1"),
            (["--jobs"], "--jobs: expected one argument"),
            (["--jobs=2", "--start=50"], "start is 50; it must be below 50, the number of test images"),
            (["--jobs=2", "--jops=2"], "there is no option --jops; near: --jobs"),
            (["--executor=slrum"], "executor is slrum; it must be one of local, slurm"),
            (["--slurm.partition=cards"], "slurm is {'partition': 'cards'}, which needs --executor=slurm"),
            (["--executor=slurm", "--slurm.partitoin=cards"], "slurm is {'partitoin': 'cards'}: "),
        ],
    )
    def test_bad_options(
        self, words: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str], slurm: Path
    ) -> None:
        Path("file").touch()
        assert message in refused(capsys, checkpoint, *words)
        assert not list(Path.cwd().rglob("records-*"))
        assert not list(slurm.iterdir())


def test_stages_run_in_the_order_of_the_cascade(checkpoint: Path) -> None:
    found = certify(checkpoint, "--stages=[CROWNIBP,IBP]")
    assert {record["stage"] for record in found} <= {"natural", "IBP", "CROWNIBP", None}
    assert [list(certifier["stages"]) for certifier in summary()["certifiers"]] == [["natural", "IBP", "CROWNIBP"]]
    assert not any(record["verdict"] == "falsified" for record in found)


def test_the_bar_counts_samples(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certify(checkpoint, "--samples=10")
    capsys.readouterr()
    found = certify(checkpoint, "--samples=20", "--trainer.enable_progress_bar=true")
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "20/20" in bar
    for verdict, count in Counter(record["verdict"] for record in found).items():
        assert f"{verdict}={count}" in bar


def test_weights_and_biases(checkpoint: Path, wandb: ModuleType) -> None:
    saved = str(checkpoint.parents[1])
    found = certify(checkpoint, "--config", saved, "--config", "wandb.yaml", "--samples=20")
    natural = sum(record["label"] == record["prediction"] for record in found) / 20
    assert wandb.run.summary["certification/natural_accuracy"] == pytest.approx(natural)
    (table,) = (Path(wandb.run.dir) / "media/table").rglob("*.json")
    content = json.loads(table.read_text())
    assert [dict(zip(content["columns"], row, strict=True)) for row in content["data"]] == found
