"""A run that was found is data: attempts to make it execute code, each of which would leave a file as its mark."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from torch.optim import SGD

import gls_lightning
from gls_lightning.cli import GLSCLI
from gls_lightning.configuration.composition import merge
from gls_lightning.configuration.found_values import KINDS, NAMED
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main
from gls_lightning.run_files.places import evaluation_directory

TINY = Path(__file__).parent / "configs" / "tiny.yaml"
MARK = "GLS_TEST_MARK"
TOUCH = f"import os, pathlib; pathlib.Path(os.environ['{MARK}']).touch()\n"
COMPONENT = "from gls_lightning.relaxations import IBP\nclass {name}(IBP):\n    pass\n"
GADGETS = """
import os, pathlib
from lightning.pytorch import LightningDataModule
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import nn
from torch.optim import SGD, Optimizer

def run(*args, **kwargs):
    pathlib.Path(os.environ['GLS_TEST_MARK']).touch()

def network(*args, **kwargs) -> nn.Module:
    run()

def data(*args, **kwargs) -> LightningDataModule:
    run()

def optimizer(params, lr: float = 0.1) -> Optimizer:
    run()
    return SGD(params, lr)

class Doer:
    def __init__(self, *args, **kwargs):
        run()

    def __call__(self, *args, **kwargs):
        run()

class Sender(CSVLogger):
    def __init__(self, **kwargs):
        super().__init__('elsewhere')
        run()

class Reader(TorchCheckpointIO):
    def __init__(self):
        run()
"""
"""An installed library with functions and classes of the kinds that real ones have; each of them leaves the mark."""


class Bomb:
    """Leaves the mark when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {os.environ[MARK]}",)


@dataclass
class Download:
    """A run that somebody else made, and that may be changed for the worse."""

    run: Path

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "last.ckpt"

    @property
    def config(self) -> Path:
        return self.run / "config.yaml"

    def say(self, **sections: Any) -> None:
        """Changes the configuration."""
        self.config.write_text(yaml.safe_dump(merge(yaml.safe_load(self.config.read_text()), sections)))

    def write(self, name: str, text: str) -> Path:
        path = self.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def arm(self) -> None:
        """Puts an object into the checkpoint that executes code when it is unpickled."""
        content = torch.load(self.checkpoint, weights_only=True)
        torch.save(content | {"bomb": Bomb()}, self.checkpoint)

    def change_checkpoint(self, **content: Any) -> None:
        torch.save(torch.load(self.checkpoint, weights_only=True) | content, self.checkpoint)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        fast = ["--model.objective=Standard", "--model.estimator=Backprop", "--trainer.limit_val_batches=0"]
        main(["fit", "--config", str(TINY), "--trainer.max_steps=1", "--data.test_size=2", *fast])
        return Path("runs/tiny/version_0").absolute()


@pytest.fixture(scope="module")
def gadgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The library is installed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "gadgets.py").write_text(GADGETS)
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("gadgets", None)


@pytest.fixture
def download(trained: Path, gadgets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    """A copy of the run, beside the working directory."""
    shutil.copytree(trained, tmp_path / "download")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    return Download(tmp_path / "download")


def evaluate(download: Download, command: str = "test") -> list[str]:
    few = {
        "fit": ["--trainer.max_steps=2"],
        "certify": ["--samples=1", "--stages=[IBP]"],
        "tightness": ["--samples=1", "--num_radii=2", "--relaxations=[IBP]"],
        "landscape": ["--samples=1", "--points=3", "--sigmas=[1e-3]", "--population_sizes=[2]", "--relaxations=[IBP]"],
        "export": ["--samples=1"],
    }
    return [command, "--ckpt_path", str(download.checkpoint), *few.get(command, [])]


Attack = Callable[[Download], list[str]]
ATTACKS: list[Any] = []


def attack(refusal: str | None, *trusting: str, **arguments: Any) -> Callable[[Attack], Attack]:
    """Registers an attack.

    Args:
        refusal: Matches the line with which it is refused; None where the command does its work.
        *trusting: Words with which it succeeds, which shows that it is one.
        **arguments: Further arguments of the function.
    """

    def register(function: Attack) -> Attack:
        name = "-".join([function.__name__, *(value for value in arguments.values() if isinstance(value, str))])
        ATTACKS.append(pytest.param(partial(function, **arguments), refusal, trusting, id=name))
        return function

    return register


UNPICKLES = "--weights_only=false"
TRUSTS = "--trust_run"
UNREADABLE = "is damaged|holds an object"
REFUSED = ""  # by the parser, whose words are its own
NOT_CHOSEN = "which a run that was found may not choose"
NOT_IMPORTED = "which is neither installed nor in the working directory"
COMMANDS = ("fit", "validate", "test", "tightness", "landscape", "certify", "export")


# Pickles.


def pickle_in_the_checkpoint(download: Download, command: str) -> list[str]:
    download.arm()
    return evaluate(download, command)


def pickle_that_the_configuration_allows(download: Download, command: str) -> list[str]:
    download.arm()
    download.say(weights_only=False)
    return evaluate(download, command)


for command in COMMANDS:
    attack(UNREADABLE, UNPICKLES, command=command)(pickle_in_the_checkpoint)
    attack("weights_only of", UNPICKLES, command=command)(pickle_that_the_configuration_allows)


@attack("weights_only of", UNPICKLES, value="no")
@attack("weights_only of", UNPICKLES, value="false")
def pickle_that_a_string_allows(download: Download, value: str) -> list[str]:
    download.arm()
    download.say(weights_only=value)
    return evaluate(download)


@attack("weights_only of", UNPICKLES)
def pickle_that_the_configuration_allows_after_the_flag(download: Download) -> list[str]:
    download.arm()
    download.say(weights_only=False)
    return ["test", "--weights_only=true", "--config", str(download.run), "--ckpt_path", str(download.checkpoint)]


@attack("weights_only of", UNPICKLES)
def pickle_that_a_base_allows(download: Download) -> list[str]:
    download.arm()
    download.write("base.yaml", "weights_only: false")
    content = yaml.safe_load(download.config.read_text())
    del content["weights_only"]
    download.config.write_text(yaml.safe_dump(content | {"bases": ["base.yaml"]}))
    return evaluate(download)


@attack(UNREADABLE, UNPICKLES)
def pickle_that_the_configuration_names(download: Download) -> list[str]:
    download.arm()
    download.say(ckpt_path=str(download.checkpoint))
    return ["test", "--config", str(download.run)]


@attack("weights_only of")
def pickle_of_the_last_checkpoint(download: Download) -> list[str]:
    download.arm()
    download.say(ckpt_path="last", weights_only=False, checkpoint={"dirpath": str(download.checkpoint.parent)})
    return ["fit", "--config", str(download.run)]


@attack(UNREADABLE)
def pickle_to_start_from(download: Download) -> list[str]:
    download.arm()
    download.say(model={"init_args": {"init_from": str(download.checkpoint)}})
    return ["fit", "--config", str(download.run)]


@attack(UNREADABLE)
def pickle_without_an_archive(download: Download) -> list[str]:
    download.checkpoint.write_bytes(pickle.dumps({"state_dict": {}, "bomb": Bomb()}))
    return evaluate(download)


@attack(UNREADABLE)
def pickle_as_safetensors(download: Download) -> list[str]:
    path = download.run / "network.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    return ["certify", "--ckpt_path", str(path)]


# Modules that came with the run.


@attack("says trust_run")
def module_of_a_run_that_trusts_itself(download: Download) -> list[str]:
    download.write("found_trusting.py", TOUCH)
    download.say(imports=["found_trusting"], trust_run=True)
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_beside_the_configuration(download: Download) -> list[str]:
    download.write("found_beside.py", TOUCH)
    download.say(imports=["found_beside"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_in_import_paths(download: Download) -> list[str]:
    download.write("code/found_in_path.py", TOUCH)
    download.say(imports=["found_in_path"], import_paths=[str(download.run / "code")])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_of_a_package(download: Download) -> list[str]:
    download.write("found_package/__init__.py", TOUCH)
    download.write("found_package/part.py", "")
    download.say(imports=["found_package.part"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS, module="found_class", section={"class_path": "found_class.Found"})
@attack(NOT_IMPORTED, TRUSTS, module="found_string", section="found_string.Found")
def class_of_a_module(download: Download, module: str, section: Any) -> list[str]:
    download.write(f"{module}.py", TOUCH + COMPONENT.format(name="Found"))
    download.say(model={"init_args": {"relaxation": section}})
    return evaluate(download)


@attack(REFUSED, TRUSTS)
def class_path_in_a_file_that_is_named(download: Download) -> list[str]:
    download.write("found_part.py", TOUCH + COMPONENT.format(name="Found"))
    download.write("relaxation.yaml", "class_path: found_part.Found")
    download.say(model={"init_args": {"relaxation": "relaxation.yaml"}})
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_in_the_working_directory_of_the_run(download: Download) -> list[str]:
    download.write("found_here.py", TOUCH)
    download.say(imports=["found_here"])
    os.chdir(download.run)
    return ["test", "--ckpt_path", "checkpoints/last.ckpt"]


@attack(NOT_IMPORTED, TRUSTS)
def module_beside_a_base(download: Download) -> list[str]:
    download.write("parts/found_at_base.py", TOUCH)
    download.write("parts/base.yaml", "imports: [found_at_base]")
    download.say(bases=["parts/base.yaml"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_of_a_directory_that_is_given(download: Download) -> list[str]:
    download.write("found_given.py", TOUCH)
    download.say(imports=["found_given"])
    return ["test", "--config", str(download.run)]


@attack(NOT_IMPORTED, TRUSTS)
def module_of_a_record_that_is_given(download: Download) -> list[str]:
    download.write("found_record.py", TOUCH)
    download.say(imports=["found_record"])
    return ["test", "--config", str(download.config)]


@attack(NOT_IMPORTED, TRUSTS)
def module_of_another_file_of_the_run(download: Download) -> list[str]:
    download.write("found_other.py", TOUCH)
    download.say(imports=["found_other"])
    shutil.copy(download.config, download.run / "better.yaml")
    return ["test", "--config", str(download.run / "better.yaml")]


@attack(NOT_IMPORTED, TRUSTS)
def module_of_a_record_that_is_a_base(download: Download) -> list[str]:
    download.write("found_base.py", TOUCH)
    download.say(imports=["found_base"])
    Path("mine.yaml").write_text(f"bases: [{download.config}]")
    return ["test", "--config", "mine.yaml"]


def move_below(download: Download, place: str) -> str:
    """Moves the run below the working directory; returns the name that it has as a package."""
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(download.run, place)
    download.run = Path(place)
    return place.replace("/", ".")


@attack(NOT_IMPORTED, TRUSTS, place="below_1", module="found")
@attack(NOT_IMPORTED, TRUSTS, place="below_2", module="code.deep.found")
@attack(NOT_IMPORTED, TRUSTS, place="below_3/x/version_0", module="found")
def module_of_a_run_below(download: Download, place: str, module: str) -> list[str]:
    package = move_below(download, place)
    download.write(f"{module.replace('.', '/')}.py", TOUCH)
    download.say(imports=[f"{package}.{module}"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS, path="")
@attack(NOT_IMPORTED, TRUSTS, path="as_it_is_installed")
def package_of_a_run_below(download: Download, path: str) -> list[str]:
    package = move_below(download, f"below_package_{len(path)}")
    download.write("__init__.py", TOUCH)
    download.write("part.py", "")
    download.say(imports=[f"{package}.part"])
    if path:  # as python -c and python -m do
        sys.path.insert(0, "")
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def class_of_a_run_below(download: Download) -> list[str]:
    package = move_below(download, "below_class")
    download.write("found.py", TOUCH + COMPONENT.format(name="Found"))
    download.say(model={"init_args": {"relaxation": f"{package}.found.Found"}})
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS, letter="-c")
@attack(NOT_IMPORTED, TRUSTS, letter="--config=")
def class_of_a_run_below_whose_name_follows_the_option_at_once(download: Download, letter: str) -> list[str]:
    package = move_below(download, f"below_at_once_{len(letter)}")
    download.write("found.py", TOUCH + COMPONENT.format(name="Found"))
    download.say(model={"init_args": {"relaxation": f"{package}.found.Found"}})
    return ["test", f"{letter}{download.config}"]


@attack("name it under bases", place="inside", words="test --config mine.yaml")
@attack("name it under bases", place="whole", words="--config mine.yaml test")
def class_of_a_run_that_a_configuration_names(download: Download, place: str, words: str) -> list[str]:
    package = move_below(download, f"below_named_{place}")
    download.write("found.py", TOUCH + COMPONENT.format(name="Found"))
    download.say(model={"init_args": {"relaxation": f"{package}.found.Found"}})
    named = {"config": str(download.config)}
    Path("mine.yaml").write_text(yaml.safe_dump(named if place == "inside" else {"test": named}))
    return words.split()


@attack(REFUSED, TRUSTS, text="class_path: {}.found.Found")
@attack(REFUSED, TRUSTS, text='{{"class\\u005fpath": {}.found.Found}}')
def class_of_a_run_below_in_a_file_that_is_named(download: Download, text: str) -> list[str]:
    package = move_below(download, f"below_file_{len(text)}")
    download.write("found.py", TOUCH + COMPONENT.format(name="Found"))
    download.write("relaxation.yaml", text.format(package))
    download.say(model={"init_args": {"relaxation": "relaxation.yaml"}})
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_of_another_run(download: Download) -> list[str]:
    shutil.copytree(download.run, "below_other")
    Path("below_other/found.py").write_text(TOUCH)
    download.say(imports=["below_other.found"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_by_way_of_a_link(download: Download) -> list[str]:
    download.write("code/found.py", TOUCH)
    Path("below_link").symlink_to(download.run / "code")
    download.say(imports=["below_link.found"])
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS)
def module_beside_weights_with_a_configuration(download: Download) -> list[str]:
    """The configuration lies in ``checkpoints``, so that the run's directory holds none."""
    package = move_below(download, "below_weights")
    shutil.move(download.config, download.run / "checkpoints")
    download.write("found.py", TOUCH)
    config = download.run / "checkpoints/config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"imports": [f"{package}.found"]}))
    return evaluate(download)


@attack(NOT_IMPORTED, TRUSTS, folder="conf")
@attack(NOT_IMPORTED, TRUSTS, folder="conf/deep")
def module_of_a_folder_of_the_run(download: Download, folder: str) -> list[str]:
    name = f"found_in_folder_{len(folder)}"
    download.write(f"{folder}/{name}.py", TOUCH)
    download.say(imports=[name])
    shutil.copy(download.config, download.run / folder / "c.yaml")
    return ["test", "--config", str(download.run / folder / "c.yaml")]


@attack(NOT_IMPORTED, TRUSTS)
def module_of_a_run_of_safetensors(download: Download) -> list[str]:
    shutil.rmtree(download.checkpoint.parent)
    (download.run / "metrics.csv").unlink()
    download.write("network.safetensors", "")
    download.write("found_safe.py", TOUCH)
    download.say(imports=["found_safe"])
    return ["test", "--config", str(download.config)]


@attack(NOT_IMPORTED, TRUSTS, path="last.ckpt")
@attack(NOT_IMPORTED, TRUSTS, path="./last.ckpt")
def module_where_the_checkpoints_lie(download: Download, path: str) -> list[str]:
    name = f"found_at_{len(path)}"
    download.write(f"{name}.py", TOUCH)
    download.say(imports=[name])
    os.chdir(download.checkpoint.parent)
    return ["test", "--ckpt_path", path]


@attack(None)
def entry_point_of_a_distribution(download: Download) -> list[str]:
    download.write("found_entry.py", TOUCH)
    download.write("found-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: found\nVersion: 1.0\n")
    entry = "found = found_entry\n"
    points = f"[gls_lightning.components]\n{entry}[lightning.pytorch.callbacks_factory]\n{entry}"
    download.write("found-1.0.dist-info/entry_points.txt", points)
    os.chdir(download.run)
    sys.path.insert(0, "")  # as python -c and python -m do
    return ["test", "--ckpt_path", "checkpoints/last.ckpt"]


@attack("holds no components", module="idlelib.__main__")
@attack("holds no components", module="antigravity")
@attack("is not the name of a module", module=".found")
@attack("is not the name of a module", module="../download/found")
def module_that_does_something(download: Download, module: str) -> list[str]:
    download.say(imports=[module])
    return evaluate(download)


@attack("is part of a program")
def class_of_a_program(download: Download) -> list[str]:
    download.say(model={"init_args": {"relaxation": "idlelib.__main__.Found"}})
    return evaluate(download)


@attack("imports of .* is 3; it must be a list of names")
def number_for_a_module(download: Download) -> list[str]:
    download.say(imports=3)
    return evaluate(download)


# Tags of YAML.


@attack("is no valid YAML", tag="apply:os.system")
@attack("is no valid YAML", tag="new:os.system")
def object_of_yaml(download: Download, tag: str) -> list[str]:
    with download.config.open("a") as config:
        config.write(f"more: !!python/object/{tag} ['touch {os.environ[MARK]}']\n")
    return evaluate(download)


# Functions and classes of installed libraries.


def callback(**arguments: Any) -> dict[str, Any]:
    return {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": arguments}


def network(**arguments: Any) -> dict[str, Any]:
    return {"init_args": {"network": arguments}}


@attack(NOT_CHOSEN, TRUSTS)
def function_that_a_callback_calls(download: Download) -> list[str]:
    download.say(trainer={"callbacks": [callback(setup="gadgets.run")]})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def object_that_a_callback_calls(download: Download) -> list[str]:
    download.say(trainer={"callbacks": [callback(setup={"class_path": "gadgets.Doer"})]})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def callback_in_a_file_that_is_named(download: Download) -> list[str]:
    download.write("callback.yaml", yaml.safe_dump(callback(setup="gadgets.run")))
    download.say(trainer={"callbacks": ["callback.yaml"]})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def function_in_yaml_in_a_string(download: Download) -> list[str]:
    download.say(trainer={"callbacks": yaml.safe_dump([callback(setup="gadgets.run")])})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def function_appended_to_a_list(download: Download) -> list[str]:
    download.say(**{"trainer": {"callbacks+": [callback(setup="gadgets.run")]}})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def function_that_returns_a_network(download: Download) -> list[str]:
    download.say(model=network(class_path="gadgets.network"))
    return evaluate(download)


@attack(REFUSED)
def function_that_returns_data(download: Download) -> list[str]:
    download.say(data={"class_path": "gadgets.data"})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def function_that_returns_an_optimizer(download: Download) -> list[str]:
    download.say(model={"init_args": {"optimizer": "gadgets.optimizer"}})
    return ["fit", "--config", str(download.run)]


@attack(NOT_CHOSEN, TRUSTS)
def function_that_a_schedule_calls(download: Download) -> list[str]:
    schedule = {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "gadgets.run"}}
    download.say(model={"init_args": {"scheduler": schedule}})
    return ["fit", "--config", str(download.run)]


@attack(NOT_CHOSEN, TRUSTS)
def function_that_a_network_calls(download: Download) -> list[str]:
    arguments = {"in_channels": 1, "hidden_channels": [1, 1], "activation_layer": "gadgets.network"}
    download.say(model=network(class_path="torchvision.ops.MLP", init_args=arguments))
    return evaluate(download)


@attack(NOT_CHOSEN)
def class_where_any_value_fits(download: Download) -> list[str]:
    arguments = {"in_features": 1, "out_features": 1, "device": {"class_path": "gadgets.Doer"}}
    download.say(model=network(class_path="torch.nn.Linear", init_args=arguments))
    return evaluate(download)


@attack(NOT_CHOSEN)
def class_in_yaml_in_yaml(download: Download) -> list[str]:
    inner = "'{\"class\\u005fpath\": gadgets.Doer}'"
    arguments = {"in_features": 1, "out_features": 1, "device": inner}
    download.say(model=network(class_path="torch.nn.Linear", init_args=arguments))
    return evaluate(download)


@attack(NOT_CHOSEN)
def class_among_the_published_accuracies(download: Download) -> list[str]:
    download.say(paper={"natural": {"class_path": "gadgets.Doer"}})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def logger_of_a_library(download: Download) -> list[str]:
    download.say(trainer={"logger": {"class_path": "gadgets.Sender"}})
    return evaluate(download)


@attack(NOT_CHOSEN)
def server_that_gets_the_key_of_wandb(download: Download) -> list[str]:
    arguments = {"settings": {"base_url": "http://elsewhere"}, "offline": True}
    download.say(trainer={"logger": {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": arguments}})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def reader_of_checkpoints(download: Download) -> list[str]:
    download.say(trainer={"plugins": [{"class_path": "gadgets.Reader"}]})
    return evaluate(download)


@attack(NOT_CHOSEN, key="strategy", value="fsdp")
@attack(NOT_CHOSEN, key="strategy", value="deepspeed")
@attack(NOT_CHOSEN, key="model_registry", value="somebody/else")
@attack(NOT_CHOSEN, key="default_root_dir", value="ftp://elsewhere/runs")
@attack(NOT_CHOSEN, key="default_root_dir", value="reference::file:///tmp/reader.json")
def places_and_readers_of_checkpoints(download: Download, key: str, value: str) -> list[str]:
    download.say(trainer={key: value})
    return evaluate(download)


@attack(REFUSED, name="lightning.pytorch.LightningModule.load_from_checkpoint")
@attack(NOT_CHOSEN, name="gls_lightning.load")
def function_that_unpickles(download: Download, name: str) -> list[str]:
    download.arm()
    arguments = {"weights_only": False} if "Module" in name else {"trust_run": True}
    path = {"checkpoint_path" if "Module" in name else "path": str(download.checkpoint)}
    download.say(model=network(class_path=name, init_args=path | arguments))
    return ["test", "--config", str(download.run)]


@attack(REFUSED, name="subprocess.Popen")
@attack(REFUSED, name="os.system")
def function_of_python(download: Download, name: str) -> list[str]:
    download.say(trainer={"callbacks": [callback(setup={"class_path": name, "init_args": {"command": "true"}})]})
    return evaluate(download)


@attack(NOT_CHOSEN)
def configuration_after_a_short_flag(download: Download) -> list[str]:
    download.say(trainer={"callbacks": [callback(setup="gadgets.run")]})
    return ["test", f"-c{download.config}", "--ckpt_path", str(download.checkpoint), "--config", str(TINY)]


@attack(NOT_CHOSEN, TRUSTS)
def callback_in_a_file_for_a_section(download: Download) -> list[str]:
    download.write("trainer.yaml", yaml.safe_dump({"callbacks": [callback(setup="gadgets.run")]}))
    download.say(trainer="trainer.yaml")
    return evaluate(download)


@attack(NOT_CHOSEN)
def configuration_before_the_command(download: Download) -> list[str]:
    content = yaml.safe_load(download.config.read_text())
    content["trainer"]["callbacks"] = [callback(setup="gadgets.run")]
    download.config.write_text(yaml.safe_dump({"test": content}))
    return ["--config", str(download.run), "test", "--ckpt_path", str(download.checkpoint)]


@attack(NOT_CHOSEN, TRUSTS)
def function_for_a_class_of_another_configuration(download: Download) -> list[str]:
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callback()}}))
    content = yaml.safe_load(download.config.read_text())
    content["trainer"]["callbacks"] = {"init_args": {"setup": "gadgets.run"}}
    download.config.write_text(yaml.safe_dump(content))
    return ["test", "--config", "mine.yaml", "--config", str(download.run)]


@attack(NOT_CHOSEN, TRUSTS)
def function_that_a_module_of_the_user_has_imported(download: Download) -> list[str]:
    Path("of_the_user.py").write_text("from gadgets import run\n")
    download.say(trainer={"callbacks": [callback(setup="of_the_user.run")]})
    return evaluate(download)


@attack(NOT_CHOSEN, TRUSTS)
def library_whose_name_a_folder_here_has(download: Download) -> list[str]:
    Path("gadgets").mkdir()
    download.say(trainer={"callbacks": [callback(setup="gadgets.run")]})
    return evaluate(download)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("prepare", "refusal", "trusting"), ATTACKS)
def test_attack(
    prepare: Attack, refusal: str | None, trusting: list[str], download: Download, capsys: pytest.CaptureFixture[str]
) -> None:
    words = prepare(download)
    if refusal is None:
        main(words)
    else:
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 2
        assert re.search(refusal, capsys.readouterr().err)
    assert not Path(os.environ[MARK]).exists()


CONTROLS = [
    pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] if case.id.endswith(COMMANDS[3:]) else [])
    for case in ATTACKS
    if case.values[2]
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("prepare", "refusal", "trusting"), CONTROLS)
def test_attack_is_one(
    prepare: Attack, refusal: str, trusting: list[str], download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the flag that trusts, the code is executed, whatever comes then."""
    with suppress(Exception, SystemExit):
        main([*prepare(download), *trusting])
    assert Path(os.environ[MARK]).exists()


def change_arguments(download: Download, key: str = "hyper_parameters", **arguments: Any) -> None:
    saved = torch.load(download.checkpoint, weights_only=True)
    torch.save(saved | {key: saved.get(key, {}) | arguments}, download.checkpoint)


def calling(name: str) -> dict[str, Any]:
    """The section of a network whose arguments name a function."""
    arguments = {"in_channels": 1, "hidden_channels": [1, 1], "activation_layer": name}
    return {"class_path": "torchvision.ops.MLP", "init_args": arguments}


class TestLoading:
    """In Python, too."""

    def test_a_run_as_it_is(self, download: Download) -> None:
        assert gls_lightning.load(download.checkpoint).epsilon == 0.05
        own = gls_lightning.load(download.checkpoint, optimizer=lambda parameters: SGD(parameters, lr=0.1))
        assert isinstance(own.configure_optimizers(), SGD)

    @pytest.mark.parametrize("variable", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
    def test_pickles(self, variable: str | None, download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        download.arm()
        if variable:
            monkeypatch.setenv(variable, "1")
        with pytest.raises(ConfigurationError, match=UNREADABLE):
            gls_lightning.load(download.checkpoint)
        assert not Path(os.environ[MARK]).exists()

    @pytest.mark.parametrize("key", ["hyper_parameters", "hparams", "module_arguments"])
    @pytest.mark.parametrize("network", [{"class_path": "gadgets.network"}, calling("gadgets.network")])
    def test_functions(self, network: Any, key: str, download: Download) -> None:
        change_arguments(download, key, network=network, _instantiator="lightning.pytorch.cli.instantiate_module")
        if key != "hyper_parameters":  # which would win
            content = torch.load(download.checkpoint, weights_only=True)
            del content["hyper_parameters"]["network"]
            torch.save(content, download.checkpoint)
        with pytest.raises(ConfigurationError, match=f"{NOT_CHOSEN}.*trust_run=True"):
            gls_lightning.load(download.checkpoint)
        assert not Path(os.environ[MARK]).exists()

        with suppress(Exception):
            gls_lightning.load(download.checkpoint, trust_run=True)
        assert Path(os.environ[MARK]).exists()

    @pytest.mark.parametrize(
        "arguments",
        [{"_instantiator": "gadgets.run"}, {"_instantiator": "os.system"}, {"_class_path": "gadgets.Doer"}],
    )
    def test_what_makes_the_module(self, arguments: dict[str, Any], download: Download) -> None:
        change_arguments(download, **arguments)
        with suppress(ValueError):
            gls_lightning.load(download.checkpoint)
        assert not Path(os.environ[MARK]).exists()

    @pytest.mark.parametrize("name", ["gadgets:run", "gadgets:Doer", "os:system"])
    def test_the_class(self, name: str, download: Download) -> None:
        download.change_checkpoint(module_class=name)
        with pytest.raises(ConfigurationError, match="import it from"):
            gls_lightning.load(download.checkpoint)
        assert not Path(os.environ[MARK]).exists()

    def test_modules_of_a_run_below(self, download: Download) -> None:
        package = move_below(download, "below_loaded")
        download.write("found.py", TOUCH + "from torch import nn\nclass Net(nn.Identity):\n    pass\n")
        change_arguments(download, network={"class_path": f"{package}.found.Net"})
        sys.path.insert(0, "")  # as in a notebook
        with pytest.raises(Exception, match="found"):
            gls_lightning.load(download.checkpoint)
        assert not Path(os.environ[MARK]).exists()

        with suppress(Exception):
            gls_lightning.load(download.checkpoint, trust_run=True)
        assert Path(os.environ[MARK]).exists()


class TestNames:
    """The names of what may be chosen are those of what there is."""

    @pytest.mark.parametrize("name", sorted(KINDS | NAMED))
    def test_of_kinds(self, name: str) -> None:
        found = resolve_name(name)
        assert f"{found.__module__}.{found.__qualname__}" == name

    def test_the_flag_is_no_key(self, download: Download, capsys: pytest.CaptureFixture[str]) -> None:
        download.say(trust_run=True)
        with pytest.raises(SystemExit):
            main(evaluate(download))
        assert "says trust_run, which only the flag --trust_run can; remove it" in capsys.readouterr().err

    @pytest.mark.parametrize("command", COMMANDS)
    def test_the_flag_is_explained(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert re.search(r"--trust_run +Trust a run's directory", capsys.readouterr().out)


class TestOwnRuns:
    """What the user has made goes on working without a flag."""

    def test_modules_of_the_working_directory(self, trained: Path, download: Download, parsed: list[GLSCLI]) -> None:
        Path("own_bounds.py").write_text(COMPONENT.format(name="OwnBounds"))
        download.say(
            imports=["own_bounds"], model={"init_args": {"relaxation": {"class_path": "own_bounds.OwnBounds"}}}
        )
        main(evaluate(download))
        assert type(parsed[0].model.relaxation).__name__ == "OwnBounds"

    @pytest.mark.parametrize("module", ["own_package.bounds", "own_namespace.deep.bounds"])
    def test_modules_of_packages_beside_their_runs(self, module: str, download: Download, parsed: list[GLSCLI]) -> None:
        path = Path(f"{module.replace('.', '/')}.py")
        path.parent.mkdir(parents=True)
        path.write_text(COMPONENT.format(name="OwnBounds"))
        if "package" in module:
            (path.parent / "__init__.py").touch()
        shutil.copy(download.config, "config.yaml")  # the project looks like a run itself
        Path("checkpoints").mkdir()
        move_below(download, f"runs/{module}/version_0")
        download.say(imports=[module], model={"init_args": {"relaxation": f"{module}.OwnBounds"}})
        main(evaluate(download))
        assert type(parsed[0].model.relaxation).__module__ == module

    def test_configurations_of_a_project_with_runs(self, download: Download, parsed: list[GLSCLI]) -> None:
        move_below(download, "runs/x/version_0")
        for name in ("config.yaml", "configs/own.yaml", "runs/own.yaml"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(
                yaml.safe_dump(yaml.safe_load(download.config.read_text()) | {"imports": ["own_project_part"]})
            )
            Path(name).with_name("own_project_part.py").write_text("")
            main(["test", "--config", name])
        assert len(parsed) == 3

    @pytest.mark.parametrize("path", ["last.ckpt", "./last.ckpt"])
    def test_where_the_checkpoints_lie(self, path: str, download: Download, parsed: list[GLSCLI]) -> None:
        os.chdir(download.checkpoint.parent)
        main(["test", "--ckpt_path", path])
        assert parsed[0].model.epsilon == 0.05
        assert evaluation_directory("test", path).resolve() == download.run.resolve() / "test" / "last"

    def test_modules_that_the_command_line_names(self, download: Download, parsed: list[GLSCLI]) -> None:
        download.write("own_named.py", COMPONENT.format(name="OwnNamed"))
        words = ["--imports=[own_named]", f"--import_paths=[{download.run}]", "--model.relaxation=OwnNamed"]
        main([*evaluate(download), *words])
        assert type(parsed[0].model.relaxation).__name__ == "OwnNamed"

    def test_what_the_command_line_chooses_is_not_checked(self, download: Download, parsed: list[GLSCLI]) -> None:
        words = ["--trainer.callbacks+=LambdaCallback", "--trainer.callbacks.setup=gadgets.run"]
        main([*evaluate(download), *words])
        assert "LambdaCallback" in {type(added).__name__ for added in parsed[0].trainer.callbacks}

    def test_a_configuration_that_is_no_run_is_trusted(
        self, tmp_path: Path, gadgets: None, parsed: list[GLSCLI]
    ) -> None:
        (tmp_path / "project").mkdir()
        (tmp_path / "project/own_project.py").write_text(COMPONENT.format(name="OwnProject"))
        config = yaml.safe_load(TINY.read_text()) | {"imports": ["own_project"]}
        config["model"]["init_args"]["relaxation"] = "OwnProject"
        config["trainer"]["callbacks"] = [callback(setup="gadgets.run")]
        (tmp_path / "project/config.yaml").write_text(yaml.safe_dump(config))
        main(["fit", "--config", str(tmp_path / "project/config.yaml")])
        assert type(parsed[0].model.relaxation).__name__ == "OwnProject"

    def test_pickles_are_no_part_of_the_record(self, download: Download) -> None:
        main(["fit", "--config", str(TINY), "--trainer.max_steps=1", "--trainer.limit_val_batches=0", UNPICKLES])
        (record,) = Path("runs").rglob("config.yaml")
        assert yaml.safe_load(record.read_text())["weights_only"] is None
        assert "trust_run" not in record.read_text()


class TestPath:
    """What is installed comes first."""

    @pytest.mark.parametrize("name", ["colorsys", "sklearn"])
    def test_a_module_with_the_name_of_another(
        self, name: str, download: Download, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(f"{name}.py").write_text(TOUCH)
        with pytest.raises(SystemExit):
            main(["test", "--config", str(TINY), f"--imports=[{name}]"])
        message = capsys.readouterr().err
        assert f"imports of --imports names {name}, which is {Path.cwd()}/{name}.py, but " in message
        assert "has that name, too, and comes first; rename the former" in message
        assert not Path(os.environ[MARK]).exists()

    def test_folders_come_last(self, download: Download, parsed: list[GLSCLI]) -> None:
        before = list(sys.path)
        main([*evaluate(download), TRUSTS])
        assert sys.path[: len(before)] == before
        assert {str(Path.cwd()), str(download.run)} <= set(sys.path[len(before) :])

    @pytest.mark.slow
    def test_a_module_that_python_is_to_run(self, download: Download) -> None:
        for name in ("sklearn", "yaml", "scipy", "ctypes", "jsonargparse", "lightning"):
            Path(f"{name}.py").write_text(TOUCH)
        words = ["-m", "gls_lightning", *evaluate(download)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert not Path(os.environ[MARK]).exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("place", ["here", "download"])
    def test_many_names_in_a_process_of_their_own(self, place: str, download: Download) -> None:
        folder = download.run.parent / place
        for name in ("sklearn", "yaml", "matplotlib", "PIL", "scipy", "jinja2", "onnx", "json", "csv", "statistics"):
            (folder / f"{name}.py").write_text(TOUCH)
        for name in ("torch", "lightning", "gls_lightning", "rich"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(TOUCH)
        os.chdir(folder)
        gls = Path(sys.executable).with_name("gls")
        for words in (evaluate(download), ["report", str(download.run)], ["configs"]):
            done = subprocess.run([gls, *words], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
        assert not Path(os.environ[MARK]).exists()


class Page(HTMLParser):
    """The names of elements, and of attributes that scripts could be in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements = set[str]()
        self.handlers = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.handlers |= {name for name, value in attrs if name.startswith("on") or "script:" in (value or "")}


SCRIPT = "</script></code>--><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}"


class TestReports:
    """A page about a run shows its texts, and executes nothing."""

    def test_texts(self, download: Download) -> None:
        named = download.run.parent / "a<script>alert(1)<"  # the run's name
        download.say(seed_everything=SCRIPT, paper={"tables": [SCRIPT]}, **{SCRIPT: SCRIPT})
        download.say(model={"init_args": {"network": {"class_path": SCRIPT}, "epsilon": SCRIPT}})
        metrics = download.run / "metrics.csv"
        row = f'epoch,step,"landscape/{SCRIPT}","statistics/{SCRIPT}/$x$",val/natural_accuracy\n0,1,0.5,0.5,0.5\n'
        metrics.write_text(row)
        pictures = download.run / "landscape"
        pictures.mkdir()
        (pictures / "curves.png").write_bytes(SCRIPT.encode())
        (pictures / "landscape.json").write_text(json.dumps({"title": SCRIPT, "noise": SCRIPT, "checkpoint": [SCRIPT]}))
        (download.run / "certification").mkdir()
        (download.run / "certification/summary.json").write_text(json.dumps({SCRIPT: SCRIPT}))
        shutil.move(download.run, named)

        main(["report", str(named), "--output", "page.html"])
        text = Path("page.html").read_text()
        assert "{{ 7 * 7 }}{% raw %}" in text
        page = Page(text)
        assert "script" not in page.elements
        assert not page.handlers
        markdown = Page(MarkdownIt("commonmark").render(Path("page.md").read_text()))
        assert "script" not in markdown.elements
        assert not markdown.handlers

    def test_tags_of_yaml_are_a_note(self, download: Download) -> None:
        with download.config.open("a") as config:
            config.write(f"more: !!python/object/apply:os.system ['touch {os.environ[MARK]}']\n")
        main(["report", str(download.run)])
        assert "is no valid YAML" in (download.run / "report.html").read_text()
        assert not Path(os.environ[MARK]).exists()

    @pytest.mark.slow
    def test_a_backend_for_figures(self, download: Download) -> None:
        """matplotlib reads its settings from the working directory, here the run's own."""
        download.write("matplotlibrc", "backend: module://found_backend\n")
        download.write("found_backend.py", TOUCH)
        for words in (["report", "."], ["tightness", "--ckpt_path", "checkpoints/last.ckpt", "--num_radii=2"]):
            code = f"from gls_lightning.main import main; main({words!r})"
            done = subprocess.run(
                [sys.executable, "-P", "-c", code], cwd=download.run, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr
        assert not Path(os.environ[MARK]).exists()


@pytest.mark.usefixtures("clean_place")
def test_a_module_beside_the_directory_of_a_run_came_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    folder, marker = Path("download/run"), Path("executed")
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder.parent / "beside.py").write_text(f"open({str(marker)!r}, 'w').close()")
    (folder / "config.yaml").write_text(TINY.read_text() + "\nimports: [download.beside]\n")
    (folder / "last.ckpt").touch()
    with pytest.raises(SystemExit):
        main(["test", "--ckpt_path", str(folder / "last.ckpt")])
    assert "only with --trust_run" in capsys.readouterr().err
    assert not marker.exists()
