import math

import pytest
import torch
import torch.nn.functional as F

from gls_lightning.objectives import robust_cross_entropy


def test_robust_cross_entropy_by_hand():
    lower = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]], dtype=torch.double)
    expected = [math.log(4), math.log(1 + math.exp(-1) + math.exp(2) + math.exp(-0.5))]
    assert robust_cross_entropy(lower).tolist() == pytest.approx(expected)


def test_robust_cross_entropy_of_exact_margins_is_the_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5, dtype=torch.double), torch.arange(8) % 5
    others = torch.stack([row[torch.arange(5) != y] for row, y in zip(logits, labels, strict=True)])
    margins = logits.gather(1, labels[:, None]) - others
    torch.testing.assert_close(robust_cross_entropy(margins), F.cross_entropy(logits, labels, reduction="none"))


def test_robust_cross_entropy_of_extreme_margins_is_finite():
    lower = torch.tensor([[-1e4, 1e4], [1e30, 1e30], [-1e30, 0.0]], requires_grad=True)
    losses = robust_cross_entropy(lower)
    assert losses.tolist() == pytest.approx([1e4, 0.0, 1e30])
    losses.sum().backward()
    assert lower.grad.isfinite().all()
