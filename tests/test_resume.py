"""A run that is killed and resumed ends with the weights of a run that is not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gls_lightning.main import main

CONFIG = Path(__file__).parent / "configs" / "interrupted.yaml"
BATCHES_PER_EPOCH = 3


def checkpoint(version: int) -> Path:
    return Path("runs", "interrupted", f"version_{version}", "checkpoints", "last.ckpt")


def state(version: int) -> dict[str, Any]:
    return torch.load(checkpoint(version), weights_only=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
        main(["fit", "--config", str(CONFIG)])
        return state(0)


@pytest.mark.parametrize(
    ("hook", "batch"),
    [
        pytest.param("on_train_batch_start", BATCHES_PER_EPOCH + 2, id="within an epoch"),
        pytest.param("on_train_batch_start", BATCHES_PER_EPOCH + 1, id="after an epoch and its validation"),
        pytest.param("on_validation_start", BATCHES_PER_EPOCH, id="after an epoch, before its validation"),
    ],
)
def test_resumed_run_ends_with_the_same_bits(
    uninterrupted: dict[str, Any], hook: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [f"--trainer.callbacks.hook={hook}", f"--trainer.callbacks.batch={batch}"]
    with pytest.raises(BaseException, match=f"killed in {hook}"):
        main(["fit", "--config", str(CONFIG), *options])
    assert state(0)["global_step"] < uninterrupted["global_step"]

    main(["fit", "--config", str(CONFIG), "--ckpt_path", str(checkpoint(0))])

    resumed = state(1)
    torch.testing.assert_close(resumed["state_dict"], uninterrupted["state_dict"], rtol=0, atol=0)
    for ours, theirs in zip(resumed["optimizer_states"], uninterrupted["optimizer_states"], strict=True):
        torch.testing.assert_close(ours["state"], theirs["state"], rtol=0, atol=0)
