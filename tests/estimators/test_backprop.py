import torch

from gls_lightning.estimators import Backprop, Step


def test_exact_on_a_quadratic():
    torch.manual_seed(0)
    a = torch.randn(6, 6, dtype=torch.double)
    x = torch.randn(6, dtype=torch.double, requires_grad=True)
    Backprop()(lambda p: (p["x"] @ a @ p["x"], {}), {"x": x}, Step(0, 0)).loss.backward()
    torch.testing.assert_close(x.grad, (a + a.T) @ x.detach())


def test_evaluates_once_at_the_parameters():
    x, calls = torch.ones(3, requires_grad=True), []
    loss = Backprop()(lambda p: (calls.append(p["x"].tolist()) or p["x"].sum(), {}), {"x": x}, Step(0, 0)).loss
    assert calls == [[1.0, 1.0, 1.0]]
    assert loss == 3
