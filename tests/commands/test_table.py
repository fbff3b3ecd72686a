"""``gls table`` through the command line; its workers are stand-ins but in the long test."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from common.waiting import until

from gls_lightning.commands.table.jobs import check_options, plan
from gls_lightning.commands.table.options import divide
from gls_lightning.commands.table.rows import find_rows
from gls_lightning.configuration.composition import SHIPPED
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main

TINY = Path(__file__).parents[1] / "configs/tiny.yaml"
STAND_IN = '''
import json, os, sys, time
from pathlib import Path

def value(name, words):
    return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")

def fit(words):
    row = Path(words[words.index("--config") + 1]).stem
    seed, folder = value("--seed_everything", words), Path(value("--trainer.logger.save_dir", words))
    runs = folder / value("--trainer.logger.name", words)
    go_on = Path(words[words.index("--ckpt_path") + 1]).parents[1] if "--ckpt_path" in words else None
    run = go_on or runs / f"version_{len(list(runs.glob('version_*')))}"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    held_out = value("--data.validation_size", words) or 0
    start = value("--model.init_from", words) or "null"
    assert start == "null" or Path(start).is_file()
    (run / "config.yaml").write_text(f"""seed_everything: {seed}
data: {{class_path: Digits, init_args: {{validation_size: {held_out}}}}}
model: {{init_args: {{epsilon: 0.05, init_from: {start}, network: {row}}}}}
trainer: {{max_epochs: 1}}
paper: {json.dumps({"tables": [1]} if row == "second" else None)}
""")
    accuracy = {"5e-4": 0.2 + int(seed) / 10, "5e-3": 0.3, "0": "nan"}.get(value("--model.optimizer.lr", words), 0.1)
    curves = f"epoch,step,train/loss,val/certified_accuracy\\n0,0,1,{accuracy}\\n1,1,1,0.9\\n"
    (run / "metrics.csv").write_text(curves)
    order = Path(f"order_{row}_{seed}")
    if order.exists() and (command := order.read_text()):
        if command != "die at once":
            (run / "checkpoints/last.ckpt").write_text("")
        print("the last words", flush=True)
        if command == "hang":
            Path(f"hangs_{row}_{seed}").write_text(str(os.getpid()))
            time.sleep(600)
        os.kill(os.getpid(), 9)
    for name in ("last", "best-epoch=0"):
        (run / f"checkpoints/{name}.ckpt").write_text("")

def certify(words):
    checkpoint = Path(words[words.index("--ckpt_path") + 1])
    folder = checkpoint.parents[1] / "certification" / checkpoint.stem
    folder.mkdir(parents=True)
    seed = int(value("--seed_everything", words))
    share = {"samples": 50, "seconds": 1.0, "longest": 1.0, "mean": 0.02, "share": 1.0}
    accuracies = {"natural_accuracy": 0.9 + seed / 100, "certified_accuracy": 0.5, "adversarial_accuracy": 0.6}
    (folder / "summary.json").write_text(json.dumps({
        "checkpoint": str(checkpoint), "network": "CNN3Tiny", "options": {}, "missing": 0,
        "fingerprint": {"dataset": "Digits", "epsilon": 0.05}, **accuracies,
        "intervals": {name: [0.1, 0.99] for name in accuracies},
        "total": share, "verdicts": {}, "stages": {}, "hard": share,
    }))

if sys.orig_argv[1:4] == ["-P", "-m", "gls_lightning"]:
    words = sys.orig_argv[4:]
    if "--print_config" in words and "--unknown=2" in words:
        print("gls: there is no option --unknown", file=sys.stderr, flush=True)
        os._exit(2)
    if "--print_config" not in words:
        with open("calls", "a") as calls:
            calls.write(json.dumps(words) + "\\n")
        {"fit": fit, "certify": certify}[words[0]](words)
    os._exit(0)
'''
"""Taken for ``gls`` in processes that jobs start: writes files as it does, and dies or hangs where it is told to."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, clean_place: None) -> None:
    """Configurations of a network and of one that starts from it, in the working directory."""
    standard = "model: {init_args: {objective: Standard, estimator: Backprop}}\n"
    Path("first.yaml").write_text(f"# First.\nbases: [{TINY}]\n{standard}")
    paper = "paper: {tables: [1], natural: 91.5, certified: 60.0}\n"
    Path("second.yaml").write_text(f"# Second.\nfirst_stage: first.yaml\nbases: [{TINY}]\n{standard}{paper}")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))


def calls() -> list[str]:
    """The command lines so far: command, configuration, seed."""
    lines = [json.loads(line) for line in Path("calls").read_text().splitlines()]
    return [f"{words[0]} {words[2].removesuffix('.yaml')} {words[3][-1]}" for words in lines]


def result(folder: str) -> dict[str, dict[str, object]]:
    content = json.loads(Path(folder, "table.json").read_text())
    return {row["row"]: row for row in content["rows"]}


@pytest.mark.usefixtures("stand_in")
class TestTable:
    def test_a_table(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        main(["table", "second.yaml", "first.yaml", "--output=t", "--seeds=2", "--trainer.max_epochs=3", "--jobs=2"])
        assert sorted(calls()) == sorted(
            f"{done} {seed}"
            for seed in (0, 1)
            for done in ("fit first", "fit second", "certify first", "certify second")
        )
        rows = result("t")
        assert list(rows) == ["second", "first"]
        seeds: Any = rows["second"]["seeds"]
        assert {seed: accuracies["natural"] for seed, accuracies in seeds.items()} == pytest.approx({"0": 90, "1": 91})
        assert rows["second"]["published"] == {"natural": 91.5, "certified": 60}
        assert rows["second"]["selected"] == ["selected on the test set, as the paper"]
        assert rows["first"]["selected"] == ["selected on the test set"]
        assert (rows["first"]["weights"], rows["first"]["images"]) == (["last"], [50])
        printed = capsys.readouterr().out
        markdown = Path("t/table.md").read_text()
        half = 12.7062047 * sqrt(0.5) / sqrt(2)  # Student's t of one degree of freedom
        for text in (printed, markdown):
            assert "trainer.max_epochs 3 in place of 1" in text
            assert "selected on the test set, as the paper" in text  # unbroken, as this is no terminal
        assert f"90.50<br>{90.5 - half:.2f} to {90.5 + half:.2f}<br>paper: 91.50 (-1.00)" in markdown
        with Path("t/table.csv").open() as lines:
            (second, _) = csv.DictReader(lines)
        assert (second["seeds"], second["natural_mean"], second["natural_paper"]) == ("2", "90.5000", "91.5000")

        main(["report", "t"])
        report = Path("report.md").read_text()
        assert "Selected on the test set, as the paper: " in report
        assert report.count("| gls certify, 50 images |") == 2

    def test_options_hold_for_first_stages_and_the_table_says_so(self) -> None:
        first = Path("first.yaml")
        first.write_text(f"{first.read_text()}trainer: {{max_epochs: 2}}\n")
        main(["table", "second.yaml", "--output=t", "--seeds=1", "--trainer.max_epochs=3"])
        assert all("--trainer.max_epochs=3" in json.loads(line) for line in Path("calls").read_text().splitlines())
        assert "trainer.max_epochs 3 in place of 1 or 2" in Path("t/table.md").read_text()

    def test_each_row_takes_what_is_best_on_held_out_images(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["table", "first.yaml", "--output=t", "--data.validation_size=10", "--jobs=2"]
        main([*words, "--tune.model.optimizer.lr=[5e-4,5e-3]", "--seeds=2"])
        assert sorted(calls()) == ["certify first 0", "certify first 1", *["fit first 0"] * 2, *["fit first 1"] * 2]
        tried = result("t")["first"]["tried"]
        assert [(of["values"], of["chosen"]) for of in tried] == [
            ({"model.optimizer.lr": "5e-4"}, False),
            ({"model.optimizer.lr": "5e-3"}, True),
        ]  # type: ignore[attr-defined]
        assert [of["seeds"] for of in tried] == [pytest.approx([20, 30]), pytest.approx([30, 30])]  # type: ignore[attr-defined]
        lines = [json.loads(line) for line in Path("calls").read_text().splitlines()]
        for certified in [line for line in lines if line[0] == "certify"]:
            checkpoint = Path(certified[certified.index("--ckpt_path") + 1])
            assert checkpoint.parts[1].startswith("first_model.optimizer.lr=5e-3_seed_")
            assert checkpoint.name == "best-epoch=0.ckpt"
            assert "--model.optimizer.lr=5e-3" in certified
        markdown = Path("t/table.md").read_text()
        assert "<br>lr 5e-3<br>selected on 10 held-out training images |" in markdown
        assert "| first | lr 5e-3 | 30.00 | 30.00, 30.00 | chosen |" in markdown

        main([*words, "--tune.model.optimizer.lr=[5e-4,5e-3]", "--seeds=4"])  # means of 35 and 30
        assert [of["chosen"] for of in result("t")["first"]["tried"]] == [True, False]  # type: ignore[attr-defined]
        assert calls().count("certify first 0") == 2
        capsys.readouterr()

        with pytest.raises(SystemExit, match="1 of 2 jobs failed: first_seed_0_certify"):
            main([*words, "--tune.model.optimizer.lr=[5e-4,0]", "--seeds=1"])
        label = "first_model.optimizer.lr=0_seed_0"
        said = f"{label} has no finite certified accuracy on held-out images, so no value is the best"
        assert said in capsys.readouterr().out
        assert result("t")["first"]["seeds"] == {}

    def test_nothing_is_done_twice_and_more_can_be_added(self) -> None:
        main(["table", "first.yaml", "--output=t", "--seeds=1"])
        assert calls() == ["fit first 0", "certify first 0"]
        main(["table", "first.yaml", "--output=t", "--seeds=1"])
        assert len(calls()) == 2
        main(["table", "first.yaml", "second.yaml", "--output=t", "--seeds=1", "--rows", "s*"])
        assert calls()[2:] == ["fit second 0", "certify second 0"]
        assert json.loads(Path("t/settings.json").read_text())["rows"].keys() == {"first", "second"}

    def test_held_out_images_choose_the_best(self) -> None:
        main(["table", "first.yaml", "--seeds=1", "--data.validation_size=20"])
        row = result("tables/first")["first"]
        assert (row["weights"], row["selected"]) == (["best"], ["selected on 20 held-out training images"])

    def test_a_death_costs_its_job_alone_and_the_next_start_goes_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("order_first_1").write_text("die")
        Path("order_first_2").write_text("die at once")
        with pytest.raises(SystemExit) as exit_:
            main(["table", "first.yaml", "--output=t"])
        assert "4 of 6 jobs failed: first_seed_1, first_seed_1_certify, first_seed_2" in str(exit_.value.code)
        printed = capsys.readouterr().out
        assert "first_seed_1: gls fit was ended by SIGKILL; the end of t/logs/first_seed_1.log:" in printed
        assert "  the last words\n" in printed
        assert "first_seed_1_certify: not started, because first_seed_1 failed" in printed
        assert result("t")["first"]["seeds"] == {"0": {"natural": 90.0, "certified": 50.0, "adversarial": 60.0}}

        before = len(calls())
        for seed in (1, 2):
            Path(f"order_first_{seed}").unlink()
        main(["table", "first.yaml", "--output=t"])
        assert sorted(calls()[before:]) == ["certify first 1", "certify first 2", "fit first 1", "fit first 2"]
        resumed = [json.loads(line) for line in Path("calls").read_text().splitlines()[before:]]
        went_on = {words[3]: words[-1] for words in resumed if words[0] == "fit" and "--ckpt_path" in words}
        assert went_on == {"--seed_everything=1": "t/first_seed_1/version_0/checkpoints/last.ckpt"}
        assert [path.name for path in Path("t/first_seed_2").glob("version_*")] == ["version_0"]
        assert len(result("t")["first"]["seeds"]) == 3  # type: ignore[arg-type]

    def test_the_whole_command_is_killed_and_goes_on(self) -> None:
        Path("order_first_1").write_text("hang")
        command = [sys.executable, "-c", "from gls_lightning.main import main; main()"]
        command += ["table", "first.yaml", "--output=t", "--seeds=2", "--jobs=2"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            until(lambda: Path("hangs_first_1").is_file() and len(calls()) == 3)
            time.sleep(0.2)
            process.kill()
            process.wait(120)
        Path("order_first_1").unlink()
        os.kill(int(Path("hangs_first_1").read_text()), signal.SIGKILL)  # the next command would wait for its end
        main(["table", "first.yaml", "--output=t", "--seeds=2"])
        assert calls().count("fit first 0") == 1
        assert calls().count("certify first 0") == 1
        assert calls()[3:] == ["fit first 1", "certify first 1"]


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command ends before anything starts."""
    with pytest.raises(SystemExit) as exit_:
        main(["table", *words])
    assert exit_.value.code == 2
    assert not Path("calls").exists()
    return capsys.readouterr().err.removeprefix("gls: ").strip()


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["table9"], "NAME is table9; the tables are table1 to table8"),
            (["tabel.yaml"], "there is no configuration tabel.yaml"),
            (["first.yaml", "--rows", "x*"], "rows is x*, which no row fits; the rows are first"),
            (["first.yaml", "second.yaml"], "output is missing; 2 names need one, such as --output=tables/mine"),
            (["first.yaml", "--seeds=0"], "seeds is 0; it must be at least 1"),
            (["first.yaml", "--jobs=0"], "jobs is 0; it must be at least 1"),
            (["first.yaml", "--executor=slrum"], "executor is slrum; it must be one of local, slurm"),
            (["first.yaml", "--weights=first"], "weights is first; it must be one of best, last or null"),
            (["first.yaml", "--", "--config=x.yaml"], "--config is no option for gls table: configurations are named"),
            (["first.yaml", "--trainer.logger.name=x"], "--trainer.logger.name is no option for gls table: each"),
            (["first.yaml", "--certify.jobs=2"], "--certify.jobs is no option for gls table: --shares says how many"),
            (["first.yaml", "--", "x"], "x stands behind --; there must be options"),
            (["first.yaml", "--output=site"], "output is site, which holds something else than a table"),
        ],
    )
    def test_one_line(self, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("site").mkdir()
        Path("site/file").touch()
        assert fails(capsys, *words).startswith(said)

    def test_two_rows_of_one_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("other").mkdir()
        Path("other/first.yaml").write_text(Path("first.yaml").read_text())
        assert "have one name" in fails(capsys, "first.yaml", "other", "--output=t")

    def test_results_of_other_settings(self, capsys: pytest.CaptureFixture[str]) -> None:
        settings = {"overrides": ["--trainer.max_epochs=2"], "certify": [], "weights": None, "rows": {}}
        Path("t").mkdir()
        Path("t/settings.json").write_text(json.dumps(settings))
        words = ["first.yaml", "--output=t"]
        other = "output is t, whose results have other overrides (--trainer.max_epochs=2 and not none)"
        assert fails(capsys, *words) == f"{other}; choose another --output"
        words.append("--trainer.max_epochs=2")
        assert "other certify (none and not --samples=3)" in fails(capsys, *words, "--certify.samples=3")
        content = {"trainer": {"max_epochs": 7}}
        Path("t/settings.json").write_text(json.dumps(settings | {"rows": {"first": content}}))
        assert "have another configuration first (data.class_path None and not Digits)" in fails(capsys, *words)

    def test_options_that_cannot_be_tuned(self, capsys: pytest.CaptureFixture[str]) -> None:
        key = "--tune.model.optimizer.lr"
        for text in ("5e-4", "[5e-4]", "[5e-4, 5e-4]", "[5e-4, 5e-3", "{a: 1, b: 2}", ""):
            said = f"{key} is {text}; it must be a list of two values or more, such as [5e-4, 5e-3]"
            assert fails(capsys, "first.yaml", f"{key}={text}") == said
        tuned = f"{key}=[1,2]"
        for words, said in {
            (
                "--tune.seed_everything=[1,2]",
            ): "--seed_everything is no option for gls table: --seeds says which seeds there are",
            (
                "--tune.model.epsilon=[0.1,0.2]",
            ): "--tune.model.epsilon may not vary: all must be compared at the same radius",
            ("--tune.data=[A,B]",): "--tune.data may not vary: all must be compared on the same images",
            (tuned, "--tune.model.init_args.optimizer.lr=[3,4]"): "--tune.model.init_args.optimizer.lr is given twice",
            (
                tuned,
                "--model.optimizer.lr=1",
            ): "model.optimizer.lr is set to one value, and tuned over ['1', '2']; choose one",
        }.items():
            assert fails(capsys, "first.yaml", *words) == said
        assert not Path("tables").exists()

    def test_two_trainings_in_one_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        said = fails(capsys, "first.yaml", "--tune.model.network=[a_b,a/b]", "--data.validation_size=9")
        folder = "first_model.network=a_b_seed_0 would be the folder of two trainings: of "
        assert said.startswith(folder)
        assert said.endswith("--model.network=a/b")

    @pytest.mark.parametrize(
        ("module", "refused"), [("Digits", True), ("own_data.Own", True), ("own_data.Decides", False)]
    )
    def test_the_test_images_do_not_choose(
        self, module: str, refused: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("own_data.py").write_text(
            "from lightning.pytorch import LightningDataModule\n"
            "from gls_lightning.data import Digits\n"
            "class Own(Digits): pass\n"
            "class Decides(LightningDataModule): pass\n"
        )
        Path("own.yaml").write_text(f"bases: [first.yaml]\ndata: {{class_path: {module}}}\n")
        rows = find_rows(["first.yaml", "own.yaml"], ["own"])
        tuned = plan(rows, 1, Path("t"), [], [], None, {"model.optimizer.lr": ["1", "2"]})
        if refused:
            with pytest.raises(
                ConfigurationError, match=r"^data.validation_size is 0, so the test images would choose"
            ):
                check_options(tuned)
        else:
            check_options(tuned)

    @pytest.mark.usefixtures("stand_in")
    @pytest.mark.parametrize(("word", "command"), [("--unknown=2", "fit"), ("--certify.unknown=2", "certify")])
    def test_options_that_gls_refuses(self, word: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        said = fails(capsys, "first.yaml", "--", word)
        assert said == f"gls {command} refuses the options of first: there is no option --unknown"
        assert not Path("tables").exists()

    def test_options_that_gls_refuses_for_the_first_stage(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("smoothed.yaml").write_text(f"first_stage: first.yaml\nbases: [{TINY}]\n")
        said = fails(capsys, "smoothed.yaml", "--model.estimator.sigma=1e-2")
        assert said.startswith(
            "gls fit refuses the options of first: model.estimator.sigma: Backprop has no option sigma"
        )
        assert not Path("tables").exists()


def test_words() -> None:
    words = (
        "t --rows a b --model.epsilon 8/255 --slurm.time=3 --certify.samples 5 "
        "--tune.model.optimizer.lr [5e-4,5e-3] -- --imports=[x] --certify.stages=[IBP]"
    )
    assert divide(words.split()) == (
        ["t", "--rows", "a", "b", "--slurm.time=3"],
        ["--model.epsilon=8/255", "--imports=[x]"],
        ["--samples=5", "--stages=[IBP]"],
        {"model.optimizer.lr": ["5e-4", "5e-3"]},
    )


def test_rows_of_a_table_and_their_first_stages() -> None:
    rows = {row.name: row for row in find_rows(["table2"], [])}
    assert len(rows) == 4
    start = rows["table2_cnn3_tiny_mnist_0.1_dp_pgpe"].start
    assert start is not None
    assert start.name == "table2_cnn3_tiny_mnist_0.1_pgd"
    assert rows["table2_cnn3_tiny_mnist_0.1_dp_grad"].start is None
    assert [row.name for row in find_rows(["table1"], ["*mnist_0.3_dp_rgs", "*mnist_0.3_ibp_grad"])] == [
        "table1_cnn3_mnist_0.3_dp_rgs",
        "table1_cnn3_mnist_0.3_ibp_grad",
    ]
    assert len(find_rows(["comparison"], [])) == len(list((SHIPPED / "comparison").glob("*.yaml")))


@pytest.mark.slow
def test_real_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    """One is killed at its second epoch and goes on; the second stage starts from the first one's weights."""
    said = fails(capsys, "second.yaml", "--trainer.max_epoch=2")
    assert said.startswith("gls fit refuses the options of second: there is no option --trainer.max_epoch; near: ")
    words = ["table", "second.yaml", "--output=t", "--seeds=1", "--certify.samples=4", "--certify.stages=[PGD,IBP]"]
    words += ["--shares=2", "--jobs=2", "--trainer.max_epochs=2000"]
    command = [sys.executable, "-c", "from gls_lightning.main import main; main()", *words]
    checkpoint = Path("t/first_seed_0/version_0/checkpoints/last.ckpt")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        until(checkpoint.is_file, seconds=120)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    steps = torch.load(checkpoint)["global_step"]
    settings = json.loads(Path("t/settings.json").read_text())
    epochs = steps // 2 + 3
    settings["overrides"] = [f"--trainer.max_epochs={epochs}"]  # as if the command had said so
    Path("t/settings.json").write_text(json.dumps(settings))
    main([*words[:-1], f"--trainer.max_epochs={epochs}"])
    assert not Path("t/first_seed_0/version_1").exists()
    assert f"--ckpt_path {checkpoint}" in Path("t/logs/first_seed_0.log").read_text()
    assert torch.load(checkpoint)["global_step"] == 2 * epochs
    second = yaml.safe_load(Path("t/second_seed_0/version_0/config.yaml").read_text())
    assert second["model"]["init_args"]["init_from"] == str(checkpoint)
    assert result("t")["second"]["images"] == [4]
    assert Path("t/logs/second_seed_0_certify_2.log").is_file()
    main(["report", "t"])
    assert "Selected on the test set, as the paper: " in Path("report.md").read_text()
