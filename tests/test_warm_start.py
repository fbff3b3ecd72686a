"""A fit that starts from the weights of another run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from common.runs import TINY
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from safetensors.torch import save_file
from torch import Tensor, nn

import gls_lightning
from gls_lightning import CertifiedTrainingModule
from gls_lightning.data import Digits
from gls_lightning.estimators import Backprop
from gls_lightning.main import main
from gls_lightning.objectives import Standard
from gls_lightning.relaxations import IBP

PLAIN = [
    "--config",
    TINY,
    "--model.objective=Standard",
    "--model.estimator=Backprop",
    "--model.relaxation=IBP",
    "--trainer.limit_val_batches=0",
]
FROZEN = ["--model.optimizer=Adam", "--model.optimizer.lr=0"]


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run with another seed than the default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        main(["fit", *PLAIN, "--seed_everything=1", "--model.optimizer=Adam", "--model.optimizer.lr=0.01"])
        return Path("runs/tiny/version_0/checkpoints/last.ckpt").absolute()


def read(path: str | Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def weights(path: Path) -> dict[str, Tensor]:
    """The network's tensors in a checkpoint, under the network's own names."""
    state = read(path)["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}


def last(version: int = 0) -> Path:
    return Path(f"runs/tiny/version_{version}/checkpoints/last.ckpt")


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("option", "suffix"), [("--model.init_from", "ckpt"), ("--model.init_args.init_from", "safetensors")]
)
def test_a_fresh_fit_starts_from_the_weights_alone(option: str, suffix: str, trained: Path) -> None:
    path = trained
    if suffix == "safetensors":
        path = Path("network.safetensors").absolute()
        save_file(weights(trained), path)
    main(["fit", *PLAIN, *FROZEN, f"{option}={path}"])
    assert same(weights(last()), weights(trained))
    assert read(last())["global_step"] == 2  # 4 if it had gone on where the other run ended
    assert read(last())["optimizer_states"][0]["state"][0]["step"] == 2
    saved = yaml.safe_load(Path("runs/tiny/version_0/config.yaml").read_text())
    assert saved["model"]["init_args"]["init_from"] == str(path)


def test_without_it_the_weights_are_others(trained: Path) -> None:
    main(["fit", *PLAIN, *FROZEN])
    assert not same(weights(last()), weights(trained))


def test_the_file_is_needed_only_once(trained: Path) -> None:
    """Not to resume, to evaluate or to load; a resumed run is that which was not interrupted."""
    start = Path("start.ckpt")
    shutil.copy(trained, start)
    words = ["fit", *PLAIN, "--model.optimizer=Adam", "--model.optimizer.lr=0.01", f"--model.init_from={start}"]
    main([*words, "--trainer.max_epochs=2"])
    main(words)
    start.unlink()
    before = weights(last(1))

    main(["fit", "--ckpt_path", str(last(1)), "--trainer.max_epochs=2"])
    assert same(weights(last(1)), weights(last(0)))
    assert not same(weights(last(1)), before)
    main(["test", "--ckpt_path", str(last(1)), "--trainer.limit_test_batches=1"])

    loaded = gls_lightning.load(last(1))
    assert same(loaded.network.state_dict(), weights(last(1)))
    trainer(max_steps=0).fit(loaded, datamodule=digits())
    assert same(loaded.network.state_dict(), weights(last(1)))


def bad_file(state: dict[str, Tensor], kind: str) -> Path:
    """A file that cannot be started from."""
    if kind == "shape":
        state["conv1.bias"] = torch.zeros(3)
    elif kind == "name":
        state["conv3.bias"] = state.pop("conv1.bias")
    elif kind == "nan":
        state["output.bias"][0] = float("nan")
    path = Path("start.ckpt" if kind.endswith("ckpt") else "start.safetensors")
    if kind == "text ckpt":
        path.write_text("hello")
    elif kind == "short ckpt":
        torch.save({"state_dict": state}, path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "other ckpt":
        torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, path)
    elif not kind.startswith("absent"):
        save_file(state, path)
    if kind == "short":
        path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent ckpt", "there is no checkpoint start.ckpt"),
        ("absent", "there is no checkpoint start.safetensors"),
        ("text ckpt", "start.ckpt is damaged or no checkpoint"),
        ("short ckpt", "start.ckpt is damaged: bytes are missing, or are not those that were written"),
        ("short", "start.safetensors is damaged or no file of safetensors"),
        ("other ckpt", "start.ckpt is of another architecture, 6 tensors differ: conv1.weight is absent in the"),
        ("shape", "1 tensors differ: conv1.bias is (3,) in the checkpoint and (2,) in the model"),
        (
            "name",
            "2 tensors differ: conv1.bias is absent in the checkpoint and (2,) in the model; "
            "conv3.bias is (2,) in the checkpoint and absent in the model",
        ),
        ("nan", "start.safetensors holds numbers that are not finite, in output.bias"),
    ],
)
def test_a_file_that_does_not_do(kind: str, message: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bad_file(weights(trained), kind)
    with pytest.raises(SystemExit) as exit_:
        main(["fit", *PLAIN, f"--model.init_from={path}"])
    assert exit_.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    assert line.startswith("gls: model.init_from: ")
    assert message in line
    assert not list(Path("runs").rglob("*.ckpt"))


def test_another_network(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["fit", *PLAIN, "--model.network=CNN3", f"--model.init_from={trained}"])
    assert exit_.value.code == 2
    assert f"model.init_from: {trained} is of another architecture, 5 tensors differ: " in capsys.readouterr().err


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def start(seed: int = 1) -> tuple[str, dict[str, Tensor]]:
    """A file of weights with BatchNorm statistics of their own, and what it holds."""
    state = network(seed).state_dict()
    state["2.running_mean"].fill_(0.5)
    state["2.running_var"].fill_(3.0)
    save_file(state, "start.safetensors")
    return "start.safetensors", state


class Remembering(Backprop):
    """An estimator with a state that checkpoints keep."""

    def __init__(self, state: float) -> None:
        super().__init__()
        self.register_buffer("memory", torch.tensor(state))


def module(**options: Any) -> CertifiedTrainingModule:
    defaults: dict[str, Any] = {
        "network": network(0),
        "epsilon": 0.01,
        "relaxation": IBP(),
        "estimator": Backprop(),
        "objective": Standard(),
        "optimizer": lambda params: torch.optim.SGD(params, lr=0.0),
    }
    return CertifiedTrainingModule(**{**defaults, **options})


def trainer(**options: Any) -> Trainer:
    return quiet_trainer(**{"max_epochs": 1, "limit_val_batches": 0, **options})


def digits() -> Digits:
    return Digits(batch_size=32, train_size=64, test_size=10)


def test_statistics_come_along_and_the_state_of_the_estimator_does_not() -> None:
    path, expected = start()
    first = module(estimator=Remembering(1.0), init_from=path)
    runner = trainer(max_steps=0)
    runner.fit(first, datamodule=digits())
    assert same(first.network.state_dict(), expected)
    runner.save_checkpoint("first.ckpt")
    assert read("first.ckpt")["state_dict"]["estimator.memory"] == 1

    for estimator in (Remembering(2.0), Backprop()):
        second = module(estimator=estimator, init_from="first.ckpt")
        trainer(max_steps=0).fit(second, datamodule=digits())
        assert same(second.network.state_dict(), expected)
        assert getattr(estimator, "memory", 2) == 2


def test_the_sanity_check_sees_the_weights() -> None:
    path, expected = start()

    class Sanity(Callback):
        checked = 0

        def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.checked += same(pl_module.network.state_dict(), expected)

    sanity = Sanity()
    runner = trainer(max_steps=0, limit_val_batches=1, num_sanity_val_steps=1, callbacks=[sanity])
    runner.fit(module(init_from=path), datamodule=digits())
    assert sanity.checked == 1


def test_evaluation_does_not_read() -> None:
    untouched = module(init_from="nowhere.ckpt")
    trainer(limit_val_batches=1).validate(untouched, datamodule=digits(), verbose=False)
    assert same(untouched.network.state_dict(), network(0).state_dict())


def test_a_second_fit_goes_on() -> None:
    path, expected = start()
    trained = module(init_from=path, optimizer=lambda params: torch.optim.SGD(params, lr=0.1))
    trainer().fit(trained, datamodule=digits())
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    assert not same(before, expected)
    trainer(max_steps=0).fit(trained, datamodule=digits())
    assert same(trained.network.state_dict(), before)


def test_a_search_for_the_batch_size_does_not_forget_it() -> None:
    """It saves a checkpoint as the fit starts, before the weights are read, and loads it again."""
    path, expected = start()
    found = module(init_from=path)
    finder = BatchSizeFinder(max_trials=1, steps_per_trial=1)
    trainer(max_epochs=1, callbacks=[finder]).fit(found, datamodule=digits())
    names = dict(found.network.named_parameters()).keys()
    assert same({n: found.network.state_dict()[n] for n in names}, {n: expected[n] for n in names})


class SameStart(Callback):
    """Fails on a process that starts from other weights."""

    def __init__(self, expected: dict[str, Tensor]) -> None:
        self.expected = expected

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.world_size == 2
        assert same(pl_module.network.state_dict(), self.expected)


def test_every_process_starts_from_what_the_first_one_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    path, expected = start()

    def read_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
        assert torch.distributed.get_rank() == 0
        return expected

    monkeypatch.setattr("gls_lightning.training.initial_weights.read_weights", read_weights)
    trained = module(init_from=path)
    runner = trainer(devices=2, strategy="ddp_fork", callbacks=[SameStart(expected)])
    runner.fit(trained, datamodule=digits())

    # The process that forked them has their weights now, and does not go back to the file's.
    monkeypatch.setattr("gls_lightning.training.initial_weights.read_weights", None)
    runner.save_checkpoint("forked.ckpt")
    assert read("forked.ckpt")["unread_init_from"] is None
    trainer(max_steps=0).fit(trained, datamodule=digits())
