"""``gls certify``, driven as users do."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gls_lightning
from gls_lightning.data import Digits
from gls_lightning.errors import ContradictionError
from gls_lightning.main import main

TINY = str(Path(__file__).parents[1] / "configs/tiny.yaml")
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

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run that learns some of the digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        plain = ["--model.objective=Standard", "--model.estimator=Backprop", "--model.optimizer.lr=0.02"]
        length = ["--trainer.max_epochs=4", "--trainer.limit_val_batches=0", "--data.train_size=1000"]
        main(["fit", "--config", TINY, *plain, *length])
        return (RUN / "checkpoints/last.ckpt").absolute()


def certify(checkpoint: Path, *words: str, output: str | None = "out") -> list[dict[str, Any]]:
    """Runs the command; the records of all files, in the order of the samples."""
    main(["certify", "--ckpt_path", str(checkpoint), *([f"--output={output}"] if output else []), *words])
    return records(output or checkpoint.parents[1] / "certification/last")


def records(folder: str | Path) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in Path(folder).glob("records-*.jsonl")]
    lines = [line for text in texts for line in text.split("\n")[1:-1]]
    return sorted(map(json.loads, lines), key=lambda record: record["index"])


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "seconds": None, "margin": pytest.approx(record["margin"])} for record in found]


def summary(folder: str = "out") -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text(), parse_constant=pytest.fail)


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
        Path("slow.py").write_text(SLOW)
        certifier = {"batch_size": 3, "use_attack": False}
        certifier["relaxations"] = [{"class_path": "Slow", "init_args": {"seconds": 0.25}}]
        words = [
            "--imports=[slow]",
            "--epsilon=0.01",
            f"--certifier={json.dumps({'class_path': 'Certifier', 'init_args': certifier})}",
        ]
        command = ["certify", "--ckpt_path", str(checkpoint), "--output=killed", *words]
        process = subprocess.Popen([sys.executable, "-c", f"import gls_lightning.main as m; m.main({command})"])
        deadline = time.monotonic() + 60
        while len(records("killed")) < 7:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
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
        assert {p.name for p in Path("two").glob("*.jsonl")} == {f"records-1-50-rank{rank}.jsonl" for rank in (0, 1)}
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

    def test_missing_counterexamples_are_found_on_request(self, checkpoint: Path) -> None:
        certify(checkpoint)
        falsified = summary()["verdicts"]["falsified"]["samples"]
        assert len(certify(checkpoint, "--counterexamples=true")) == 50 + falsified
        assert len(list(Path("out/counterexamples").iterdir())) == falsified
        assert len(certify(checkpoint, "--counterexamples=true")) == 50 + falsified

    def test_contradictions_stop(self, checkpoint: Path) -> None:
        certify(checkpoint)
        (file,) = Path("out").glob("records-*.jsonl")
        (file.with_name("records-elsewhere.jsonl")).write_text(file.read_text().replace('"certified"', '"falsified"'))
        with pytest.raises(ContradictionError, match="one record of sample"):
            certify(checkpoint)


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
            (["--start=-1"], "start is -1; it must not be negative"),
            (["--start=50"], "start is 50; there are 50 test images"),
            (["--end=51"], "end is 51; there are 50 test images"),
            (["--start=9", "--end=9"], "end is 9; it must be above start, which is 9"),
            (["--samples=3", "--end=9"], "samples is 3 and end is 9; give one of them"),
            (["--epsilon=1.5"], "epsilon is 1.5; a radius"),
            (["--epsilon=.nan"], "epsilon is .nan; it must be a number"),
            (["--time_limit=0"], "time_limit is 0.0; it must be positive"),
            (["--time_limit=3", "--certifier=Certifier"], "time_limit is 3.0, which a certifier has its own of"),
            (["--stages=[DeepPoly,Crown]"], "stages contains Crown; the certifier has natural, PGD, IBP, CROWNIBP,"),
            (["--output=file"], "output is file, which is a file; it must be a directory"),
            (["--trainer.limit_test_batches=0.5"], "trainer.limit_test_batches do not apply; use --samples"),
            (["--trainer.fast_dev_run=true"], "trainer.limit_test_batches do not apply; use --samples"),
        ],
    )
    def test_bad_options(
        self, words: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("file").touch()
        assert message in refused(capsys, checkpoint, *words)
        assert not list(Path.cwd().rglob("records-*"))


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
