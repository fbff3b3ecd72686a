import pytest
import torch

from gls_lightning.bounds import Box
from gls_lightning.objectives._gradient_link import rectified_linear_link, scale_gradient


def weights_by_hand(x: float, lower: float, upper: float, c: float) -> tuple[float, float]:
    """How much a point follows the lower and the upper corner."""
    width = upper - lower
    if width == 0:
        return 0.5, 0.5
    return max(0.0, 1 - (x - lower) / (c * width)), max(0.0, 1 - (upper - x) / (c * width))


@pytest.mark.parametrize("c", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(("lower", "upper"), [(0.0, 2.0), (-1.0, 0.5), (0.7, 0.7), (0.0, 0.0)])
def test_gradient_is_the_formula(c, lower, upper):
    positions = torch.linspace(0, 1, 21, dtype=torch.double)
    points = (lower + positions * (upper - lower))[None, :, None]
    for i, x in enumerate(points.flatten().tolist()):
        box = Box(*(torch.full((1, 1), side, dtype=torch.double, requires_grad=True) for side in (lower, upper)))
        linked = rectified_linear_link(points, box, c)
        assert torch.equal(linked, points)
        moved = torch.autograd.grad(linked[0, i, 0], [*box])
        assert [g.item() for g in moved] == pytest.approx(weights_by_hand(x, lower, upper, c), abs=1e-12)


def test_landmarks():
    """At a corner the point is the corner; with c = 0.5 the middle follows neither, and a quarter one by half."""
    box = Box(torch.zeros(1, 1, requires_grad=True), torch.ones(1, 1, requires_grad=True))
    points = torch.tensor([[[0.0], [0.25], [0.5], [0.75], [1.0]]])
    linked = rectified_linear_link(points, box, 0.5).flatten()
    followed = [[g.item() for g in torch.autograd.grad(x, [*box], retain_graph=True)] for x in linked]
    assert followed == [[1, 0], [0.5, 0], [0, 0], [0, 0.5], [0, 1]]


def test_no_gradient_through_the_points():
    points = torch.rand(2, 3, 4, requires_grad=True)
    box = Box(torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4))
    rectified_linear_link(points, box, 0.5).sum().backward()
    assert points.grad is None
    assert box.lower.grad.shape == (2, 4)


def test_many_points_of_a_box_add_their_gradients():
    box = Box(torch.zeros(1, 1, requires_grad=True), torch.ones(1, 1, requires_grad=True))
    rectified_linear_link(torch.tensor([[[1.0], [1.0], [0.75]]]), box, 0.5).sum().backward()
    assert box.upper.grad.item() == 2.5


@pytest.mark.parametrize("width", [1e-45, 1e-38, 1e-8])
def test_finite_in_narrow_boxes(width):
    lower = torch.tensor([[0.0]], requires_grad=True)
    box = Box(lower, lower + width)
    (gradient,) = torch.autograd.grad(rectified_linear_link(torch.tensor([[[width]]]), box, 0.5).sum(), lower)
    assert gradient.isfinite().all()


def test_works_inside_functional_transforms():
    points = torch.rand(3, 2, 4, dtype=torch.double)

    def moved(lower, upper):
        return (rectified_linear_link(points, Box(lower, upper), 0.5) ** 2).sum()

    corners = torch.zeros(5, 3, 4, dtype=torch.double), 1 + torch.rand(5, 3, 4, dtype=torch.double)
    together = torch.func.vmap(torch.func.grad(moved, argnums=(0, 1)))(*corners)
    for i in range(5):
        own = [side[i].clone().requires_grad_() for side in corners]
        torch.testing.assert_close([g[i] for g in together], [*torch.autograd.grad(moved(*own), own)])


def test_scaled_gradient_of_the_same_value():
    x = torch.tensor(0.3, requires_grad=True)
    scaled = scale_gradient(x**3, 4.0)
    assert torch.equal(scaled, x**3)
    (gradient,) = torch.autograd.grad(scaled, x)
    assert gradient.item() == pytest.approx(4 * 3 * 0.3**2)
    assert torch.func.grad(lambda v: scale_gradient(v**3, 4.0))(x.detach()).item() == pytest.approx(gradient.item())
