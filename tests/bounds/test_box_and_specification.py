import pytest
import torch

from gls_lightning.bounds import Box, margin_specification
from gls_lightning.errors import ConfigurationError


def test_box_is_clipped_to_the_images() -> None:
    box = Box.around(torch.tensor([[0.0, 0.05, 0.5, 1.0]]), 0.1)
    torch.testing.assert_close(box.lower, torch.tensor([[0.0, 0.0, 0.4, 0.9]]))
    torch.testing.assert_close(box.upper, torch.tensor([[0.1, 0.15, 0.6, 1.0]]))


def test_box_refuses_a_negative_radius() -> None:
    with pytest.raises(ConfigurationError, match=r"epsilon is -0\.1"):
        Box.around(torch.zeros(1, 1), -0.1)


def test_degenerate_box_has_radius_zero() -> None:
    x = torch.rand(100)
    assert torch.equal(Box.around(x, 0.0).radius, torch.zeros(100))
    assert torch.equal(Box.around(x, 0.0).centre, x)


def test_margins_are_true_logit_minus_the_others_in_order() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    margins = torch.einsum("bsk,bk->bs", margin_specification(torch.tensor([1, 2]), 3), logits)
    assert margins.tolist() == [[1.0, -2.0], [24.0, 16.0]]
