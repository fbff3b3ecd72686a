"""Schedules of epsilon, sigma and rho through the command line; the closed forms are for two batches in an epoch."""

import csv
import math
from pathlib import Path

import pytest
import torch

from gls_lightning.main import main

CONFIG = str(Path(__file__).parents[1] / "configs/schedules.yaml")
STEPS = range(8)
EPSILON = [0.05 * math.sin(math.pi / 2 * min(step / 6, 1)) ** 2 for step in STEPS]  # a cosine over three epochs
SIGMA = [0.01 * (1 - 0.8 * max(0, step - 4) / 4) * (3 - 2 * radius / 0.05) for step, radius in enumerate(EPSILON)]
RHO = [0.1, 0.1, *[0.05] * 4, 0.025, 0.025]
LEARNING_RATE = [5e-4, 5e-4, *[2.5e-4] * 6]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def column(run: Path, name: str) -> list[float]:
    with (run / "metrics.csv").open() as lines:
        return [float(row[name]) for row in csv.DictReader(lines) if row[name]]


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt")["state_dict"]
    return found


def test_each_follows_a_schedule_of_its_own_and_a_resumed_run_the_same() -> None:
    main(["fit", "--config", CONFIG])
    whole = Path("runs/schedules/version_0")
    assert column(whole, "epsilon") == pytest.approx(EPSILON, rel=1e-6)
    assert column(whole, "sigma") == pytest.approx(SIGMA, rel=1e-6)
    assert column(whole, "rho") == pytest.approx(RHO, rel=1e-6)
    assert column(whole, "learning_rate") == pytest.approx(LEARNING_RATE, rel=1e-6)

    with pytest.warns(UserWarning, match="training ends with") as warned:
        main(["fit", "--config", CONFIG, "--trainer.max_steps=5"])
    late = [
        str(warning.message) for warning in warned if "training ends with epoch 2.5 (5 steps)" in str(warning.message)
    ]
    assert [message.partition(",")[0] for message in late] == [
        "AdaptiveRho has the milestones [3]",
        "epsilon_annealing has end_epoch 3",
        "sigma_decay has end_epoch 4",
    ]
    stopped = Path("runs/schedules/version_1")
    main(["fit", "--ckpt_path", str(stopped / "checkpoints/last.ckpt"), "--trainer.max_steps=-1"])
    assert column(stopped, "epsilon") == column(whole, "epsilon")
    assert column(stopped, "sigma") == column(whole, "sigma")
    torch.testing.assert_close(weights(stopped), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--epsilon_annealing.milestones=[1]", "epsilon_annealing.milestones is [1], but the shape is cosine"),
        ("--epsilon_annealing.shape=step", "epsilon_annealing.end_epoch is 3, but the shape is step"),
        ("--sigma_decay.start_epoch=5", "sigma_decay has start_epoch 5 and end_epoch 4"),
        ("--sigma_decay.shape=round", "round"),
        ("--trainer.callbacks.milestones=[]", "AdaptiveRho.milestones is []; it must be epochs for the shape step"),
    ],
)
def test_options_that_do_not_fit_together_are_one_line(
    option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", CONFIG, option])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: ")]
    assert message in line


def test_help_explains_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "For ``step``, the epochs that start with a larger radius" in shown
    assert "What sigma is multiplied by: at each milestone, or between the start and the end of a ramp" in shown
