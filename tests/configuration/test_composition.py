"""Configurations that are composed of others."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gls_lightning import cli
from gls_lightning.configuration.composition import SHIPPED, compose, merge
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main

TINY = (Path(__file__).parents[1] / "configs" / "tiny.yaml").resolve()


pytestmark = pytest.mark.usefixtures("clean_place")


def write(name: str, **content: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def content(name: str, **own: Any) -> dict[str, Any]:
    return compose(write(name, **own)).content


class TestMerging:
    @pytest.mark.parametrize(
        ("lower", "upper", "merged"),
        [
            ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}, {"a": {"b": 1, "c": 3, "d": 4}}),
            ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
            ({"a": {"b": 1}}, {"a": None}, {"a": None}),
            ({"a": "IBP"}, {"a": {"class_path": "RGS"}}, {"a": {"class_path": "RGS"}}),
            ({"a": [1]}, {"a+": [2]}, {"a": [1, 2]}),
            ({"a+": [1]}, {"a+": 2}, {"a+": [1, 2]}),
            ({}, {"a+": [2]}, {"a+": [2]}),
            ({"a": None}, {"a+": [2]}, {"a": [2]}),
        ],
    )
    def test_sections(self, lower: Any, upper: Any, merged: Any) -> None:
        before = repr((lower, upper))
        assert merge(lower, upper) == merged
        assert repr((lower, upper)) == before, "the parts stay as they are"

    def test_another_class_takes_no_argument_over(self) -> None:
        rgs = {"class_path": "RGS", "init_args": {"population_size": 2, "sigma": 0.1}}
        assert merge({"e": rgs}, {"e": {"class_path": "PGPE"}}) == {"e": {"class_path": "PGPE"}}

    @pytest.mark.parametrize("name", ["RGS", "gls_lightning.estimators.RGS"])
    def test_the_same_class_keeps_its_arguments(self, name: str) -> None:
        lower = {"class_path": "gls_lightning.estimators.RGS", "init_args": {"population_size": 2, "sigma": 0.1}}
        merged = merge(lower, {"class_path": name, "init_args": {"sigma": 0.2}})
        assert merged == {"class_path": name, "init_args": {"population_size": 2, "sigma": 0.2}}

    def test_a_class_whose_name_ends_with_the_others_is_another_one(self) -> None:
        lower = {"class_path": "MyRGS", "init_args": {"sigma": 1}}
        assert merge(lower, {"class_path": "RGS"}) == {"class_path": "RGS"}

    def test_arguments_may_come_before_the_class(self) -> None:
        merged = merge({"init_args": {"mean": [0]}}, {"class_path": "CNN3", "init_args": {"num_classes": 3}})
        assert merged == {"class_path": "CNN3", "init_args": {"mean": [0], "num_classes": 3}}


class TestComposition:
    def test_later_wins_and_paths_are_relative_to_the_file(self) -> None:
        write("parts/one.yaml", a=1, b=1, c=1)
        write("parts/deep/two.yaml", b=2, c=2)
        write("parts/both.yaml", bases=["one.yaml", "deep/two.yaml"])
        assert content("top/mine.yaml", bases=["../parts/both.yaml"], c=3) == {"a": 1, "b": 2, "c": 3}

    def test_a_part_may_appear_twice(self) -> None:
        write("part.yaml", a=1, b=1)
        write("other.yaml", bases=["part.yaml"], a=2)
        assert content("mine.yaml", bases=["other.yaml", "part.yaml"]) == {"a": 1, "b": 1}

    def test_shipped_configurations_are_bases_too(self) -> None:
        mine = content("mine.yaml", bases=["cnn3_dp_rgs.yaml"], model={"init_args": {"epsilon": 0.2}})
        shipped = compose(SHIPPED / "cnn3_dp_rgs.yaml").content
        shipped["model"]["init_args"]["epsilon"] = 0.2
        assert mine == shipped

    def test_imports_add_up(self) -> None:
        write("one.yaml", imports=["a", "b"], import_paths=["x"])
        write("two.yaml", imports="c")
        mine = content("mine.yaml", bases=["one.yaml", "two.yaml"], imports=["a", "d"])
        assert mine == {"imports": ["a", "b", "c", "d"], "import_paths": ["x"]}

    def test_published_accuracies_are_not_inherited(self) -> None:
        write("row.yaml", a=1, paper={"natural": 1.0})
        assert content("mine.yaml", bases=["row.yaml"]) == {"a": 1}
        assert content("other.yaml", bases=["row.yaml"], paper={"natural": 2.0}) == {"a": 1, "paper": {"natural": 2.0}}

    def test_a_circle(self) -> None:
        write("sub/one.yaml", bases=["../mine.yaml"])
        with pytest.raises(ConfigurationError, match=r"circle: mine\.yaml -> sub/one\.yaml -> sub/\.\./mine\.yaml$"):
            content("mine.yaml", bases=["sub/one.yaml"])

    def test_a_missing_base(self) -> None:
        write("parts/cnn5.yaml")
        with pytest.raises(
            ConfigurationError, match=r"bases of mine\.yaml names parts/cnn6\.yaml, which .*near: .*cnn5"
        ):
            content("mine.yaml", bases=["parts/cnn6.yaml"])

    @pytest.mark.parametrize("bases", ["cnn3_dp.yaml", 3, [1], {"a": 1}])
    def test_no_list_of_names(self, bases: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"bases of mine\.yaml is .*; it must be a list"):
            content("mine.yaml", bases=bases)

    @pytest.mark.parametrize("key", ["imports", "import_paths"])
    @pytest.mark.parametrize("value", [3, [1], {"a": 1}, "[", [["a"]]])
    def test_imports_that_are_no_list_of_names(self, key: str, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=rf"{key} of mine\.yaml is .*; it must be a list of names"):
            content("mine.yaml", bases=[write("base.yaml", imports=["a"]).name], **{key: value})

    @pytest.mark.parametrize(("text", "message"), [("a: [", "part.yaml is no valid YAML"), ("[1]", "part.yaml holds")])
    def test_a_base_that_cannot_be_read(self, text: str, message: str) -> None:
        Path("part.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            content("mine.yaml", bases=["part.yaml"])


class TestCommandLine:
    def test_flags_and_further_configurations_come_later(self, parsed: list[cli.GLSCLI]) -> None:
        write("mine.yaml", bases=[str(TINY)], model={"init_args": {"epsilon": 0.2, "seed": 3}})
        write("more.yaml", model={"init_args": {"epsilon": 0.3}}, trainer={"max_epochs": 7})
        main(["fit", "--config", "mine.yaml"])
        main(["fit", "--config=mine.yaml", "--config=more.yaml", "--trainer.max_epochs=8"])
        first, second = parsed
        assert (first.model.epsilon, second.model.epsilon, second.trainer.max_epochs) == (0.2, 0.3, 8)

    def test_numbers_without_a_dot(self, parsed: list[cli.GLSCLI]) -> None:
        """YAML 1.1 takes 1e-3 for a string, the parser for a number."""
        Path("mine.yaml").write_text(f"bases: [{TINY}]\nmodel:\n  init_args:\n    epsilon: 1e-3\n")
        main(["fit", "--config", "mine.yaml"])
        assert parsed[0].model.epsilon == 1e-3

    def test_the_record_of_a_run_needs_no_bases(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write("parts/part.yaml", bases=[str(TINY)], imports=["beside_the_part"])
        Path("parts/beside_the_part.py").write_text("")
        write("mine.yaml", bases=["parts/part.yaml"], model={"init_args": {"epsilon": 0.02}})
        main(["fit", "--config", "mine.yaml", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
        record = Path("runs/mine/version_0/config.yaml")
        saved = yaml.safe_load(record.read_text())
        assert "bases" not in saved
        assert (saved["imports"], saved["model"]["init_args"]["epsilon"]) == (["beside_the_part"], 0.02)
        assert str(tmp_path / "parts") in saved["import_paths"]

        Path("mine.yaml").unlink()
        Path("parts/part.yaml").unlink()
        seen: list[float] = []
        monkeypatch.setattr(cli.GLSCLI, "_run_subcommand", lambda self, _: seen.append(self.model.epsilon))
        main(["test", "--ckpt_path", "runs/mine/version_0/checkpoints/last.ckpt"])
        main(["fit", "--config", "runs/mine/version_0"])
        assert seen == [0.02, 0.02]

    def test_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["fit", "--config", "cnn5_dp_rgs.yaml", "--model.epsilon=0.2", "--print_config"])
        printed = yaml.safe_load(capsys.readouterr().out)
        assert "bases" not in printed
        assert printed["model"]["init_args"]["epsilon"] == 0.2
        assert printed["model"]["init_args"]["network"]["class_path"].endswith("CNN5")

    @pytest.mark.parametrize(
        ("own", "message"),
        [
            ({"bases": ["nowhere.yaml"]}, "gls: bases of mine.yaml names nowhere.yaml"),
            ({"bases": [str(TINY)], "model": {"init_args": {"epsilonn": 1}}}, "near: epsilon (mine.yaml, line "),
        ],
    )
    def test_errors_name_the_file(self, own: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        write("mine.yaml", **own)
        with pytest.raises(SystemExit) as exit_:
            main(["fit", "--config", "mine.yaml"])
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err

    @pytest.mark.slow
    def test_processes_that_repeat_the_command_line(self) -> None:
        """DDP starts ``gls`` again with the same words."""
        write("mine.yaml", bases=[str(TINY)])
        options = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=1"]
        words = ["fit", "--config", "mine.yaml", *options, "--trainer.limit_val_batches=0"]
        code = "from gls_lightning.main import main; main()"
        Path("run.py").write_text(f"if __name__ == '__main__':\n    {code}\n")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "run.py", *words], check=True, capture_output=True, env=environment, timeout=300
        )
        assert Path("runs/mine/version_0/checkpoints/last.ckpt").is_file()


FLAT = """
seed_everything: 0
data:
  class_path: MNIST
  init_args: {root: data, batch_size: 256, validation_size: 5000}
model:
  class_path: CertifiedTrainingModule
  init_args:
    network:
      class_path: CNN5
      init_args: {input_shape: [1, 28, 28], num_classes: 10, initialization: ibp}
    relaxation: DeepPoly
    estimator:
      class_path: RGS
      init_args: {population_size: 2, sigma: 1.0e-3}
    objective: Certified
    epsilon: 0.1
    optimizer:
      class_path: torch.optim.Adam
      init_args: {lr: 5.0e-4}
    scheduler:
      class_path: torch.optim.lr_scheduler.MultiStepLR
      init_args: {milestones: [50, 60], gamma: 0.2}
epsilon_annealing: {end_epoch: 20}
sigma_decay: {factor: 0.4, milestones: [50, 60]}
trainer: {max_epochs: 70, gradient_clip_val: 10, float32_matmul_precision: high}
"""


def test_the_main_experiment_is_what_it_was_as_one_file() -> None:
    assert compose(SHIPPED / "cnn5_dp_rgs.yaml").content == yaml.safe_load(FLAT)


class TestPage:
    """docs/configs.md."""

    page = (Path(__file__).parents[2] / "docs" / "configs.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    def test_examples(self) -> None:
        shipped, own = self.blocks
        assert shipped == (SHIPPED / "cnn5_dp_rgs.yaml").read_text()
        Path("own.yaml").write_text(own)
        changed = yaml.safe_load(FLAT)
        changed["model"]["init_args"]["estimator"]["init_args"]["population_size"] = 4
        assert compose(Path("own.yaml")).content == changed

    def test_fragments_that_configurations_name_are_described(self) -> None:
        named = {
            Path(base).stem
            for path in (*SHIPPED.glob("*.yaml"), *(SHIPPED / "paper").glob("*.yaml"))
            for base in yaml.safe_load(path.read_text()).get("bases", [])
        }
        described = set(re.findall(r"`(\w[\w.]*)`", self.page.split("## Fragments")[1].split("## The rows")[0]))
        assert {name for name in named if not name.startswith("ctbench_")} <= described
        assert all((SHIPPED / "fragments" / f"{name}.yaml").is_file() for name in named)


def test_a_plain_list_replaces_one_that_was_to_be_appended() -> None:
    assert merge({"callbacks+": [1]}, {"callbacks": [2]}) == {"callbacks": [2]}


def test_the_short_form_of_a_class_takes_arguments() -> None:
    lower, upper = {"relaxation": "DeepPoly"}, {"relaxation": {"init_args": {"lower_slope": "zero"}}}
    assert merge(lower, upper) == {"relaxation": {"class_path": "DeepPoly", "init_args": {"lower_slope": "zero"}}}
    assert merge(lower, {"relaxation": {"class_path": "IBP"}}) == {"relaxation": {"class_path": "IBP"}}


def test_an_appended_callback_reaches_the_trainer(parsed: list[cli.GLSCLI]) -> None:
    main(["fit", "--config", "paper/table3_cnn5_mnist_0.1_mtl_ibp.yaml"])
    (swa,) = (callback for callback in parsed[0].trainer.callbacks if type(callback).__name__ == "SWA")
    assert swa.start_epoch == 65
