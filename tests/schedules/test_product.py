import pytest

from gls_lightning.schedules import Constant, Decay, Linear, Product


def test_multiplies_the_shares() -> None:
    product = Product(Linear(0, 4, 3.0, 1.0), Decay((2, 6), factor=0.5))
    assert [product.fraction(step) for step in (0, 1, 2, 4, 6)] == pytest.approx([3, 2.5, 1, 0.5, 0.25])


def test_a_constant_changes_nothing() -> None:
    schedule = Linear(0, 3)
    assert all(Product(Constant(), schedule).fraction(step) == schedule.fraction(step) for step in range(5))
