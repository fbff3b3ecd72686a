"""A run that is killed and resumed ends with the weights of a run that is not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gls_lightning.main import main

CONFIGS = Path(__file__).parent / "configs"
BATCHES_PER_EPOCH = 3


def checkpoint(version: int) -> Path:
    return Path("runs", "interrupted", f"version_{version}", "checkpoints", "last.ckpt")


def state(version: int) -> dict[str, Any]:
    return torch.load(checkpoint(version), weights_only=True)


@pytest.fixture(scope="module", params=[["interrupted.yaml"], ["interrupted.yaml", "interrupted_swa.yaml"]])
def fit(request: pytest.FixtureRequest) -> list[str]:
    return ["fit", *(f"--config={CONFIGS / name}" for name in request.param)]


@pytest.fixture(scope="module")
def uninterrupted(fit: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
        main(fit)
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
    fit: list[str],
    uninterrupted: dict[str, Any],
    hook: str,
    batch: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [f"--trainer.callbacks.hook={hook}", f"--trainer.callbacks.batch={batch}"]
    with pytest.raises(BaseException, match=f"killed in {hook}"):
        main([*fit, *options])
    assert state(0)["global_step"] < uninterrupted["global_step"]

    main([*fit, "--ckpt_path", str(checkpoint(0))])

    resumed = state(1)
    for network in ("state_dict", "current_model_state", "averaging_state"):
        torch.testing.assert_close(resumed.get(network), uninterrupted.get(network), rtol=0, atol=0)
    for ours, theirs in zip(resumed["optimizer_states"], uninterrupted["optimizer_states"], strict=True):
        torch.testing.assert_close(ours["state"], theirs["state"], rtol=0, atol=0)
