"""The norm of the gradients is computed once, and clips as Lightning does."""

from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP


class LightningClips(CertifiedTrainingModule):
    """Clips as Lightning does."""

    def configure_gradient_clipping(self, *args: Any, **options: Any) -> None:
        LightningModule.configure_gradient_clipping(self, *args, **options)


class Norms(TorchDispatchMode):
    """Counts the norms of lists of tensors."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ == "_foreach_norm"
        return func(*args, **(kwargs or {}))


def fitted(kind: type[CertifiedTrainingModule], **options: Any) -> tuple[dict[str, Any], int]:
    """The weights after six steps, and how many norms were computed."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 7), nn.ReLU(), nn.Linear(7, 3))
    module = kind(network=network, epsilon=0.05, relaxation=IBP(), estimator=Backprop())
    data = DataLoader(TensorDataset(torch.rand(24, 1, 2, 3), torch.arange(24) % 3), 4)
    with Norms() as norms:
        quiet_trainer(max_epochs=1, **options).fit(module, data)
    return module.state_dict(), norms.count


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": 0.01},
        {"gradient_clip_val": 0.3},
        {"gradient_clip_val": 0.3, "gradient_clip_algorithm": "norm"},
        {"gradient_clip_val": 0},
        {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"},
        {"gradient_clip_val": 0.01, "accumulate_grad_batches": 4},
        {"gradient_clip_val": 0.01, "precision": "bf16-mixed"},
        {"gradient_clip_val": 0.01, "precision": "64-true"},
    ],
)
def test_same_bits_as_lightning(options: dict[str, Any]) -> None:
    weights, norms = fitted(CertifiedTrainingModule, **options)
    expected, _ = fitted(LightningClips, **options)
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    assert norms == (2 if "accumulate_grad_batches" in options else 6)


def test_a_hook_of_ones_own_is_called_after_the_check() -> None:
    class Own(CertifiedTrainingModule):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **options: Any) -> None:
            for parameter in self.parameters():
                parameter.grad = torch.zeros_like(parameter)

    class Spoilt(Own):
        def on_after_backward(self) -> None:
            self.network[1].weight.grad.fill_(torch.nan)

    before = fitted(CertifiedTrainingModule, max_steps=0)[0]
    torch.testing.assert_close(fitted(Own, gradient_clip_val=0.1)[0], before, rtol=0, atol=0)
    with pytest.raises(ConfigurationError, match="the gradient is not finite at step 0"):
        fitted(Spoilt)


def test_gradients_that_a_hook_changes_are_clipped_and_checked_as_they_are_then() -> None:
    def changing(kind: type[CertifiedTrainingModule], factor: float) -> type[CertifiedTrainingModule]:
        class Changing(kind):  # type: ignore[valid-type, misc]
            def on_before_optimizer_step(self, optimizer: Any) -> None:
                for parameter in self.parameters():
                    parameter.grad.data.mul_(factor)

        return Changing

    weights, _ = fitted(changing(CertifiedTrainingModule, 100.0), gradient_clip_val=0.3)
    expected, _ = fitted(changing(LightningClips, 100.0), gradient_clip_val=0.3)
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    with pytest.raises(ConfigurationError, match="the gradient is not finite at step 0"):
        fitted(changing(CertifiedTrainingModule, float("nan")))
