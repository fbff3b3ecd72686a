import pytest
import torch

from gls_lightning.attacks import PGD

INDICES = torch.tensor([4, 0, 59_999])


@pytest.fixture
def attack() -> PGD:
    return PGD(restarts=3)


def test_starts_are_relative_positions_of_every_restart_and_sample(attack):
    starts = attack.draw_starts((2, 5, 5), INDICES, 7, 1)
    assert starts.shape == (3, 3, 2, 5, 5)
    assert starts.dtype == torch.float32
    assert starts.min() >= 0
    assert starts.max() < 1


def test_starts_are_uniform(attack):
    starts = attack.draw_starts((100, 100), INDICES, 7, 1).double()
    standard_error = (1 / 12 / starts.numel()) ** 0.5
    assert abs(starts.mean() - 0.5) < 5 * standard_error
    assert abs(starts.var() - 1 / 12) < 5 * (1 / 180 / starts.numel()) ** 0.5


def test_starts_depend_on_the_samples_own_index_only(attack):
    together = attack.draw_starts((4,), INDICES, 7, 1)
    apart = torch.cat([attack.draw_starts((4,), index[None], 7, 1) for index in INDICES.flip(0)], dim=1)
    assert torch.equal(together, apart.flip(1))


def test_starts_of_fewer_restarts_come_first(attack):
    assert torch.equal(PGD().draw_starts((7,), INDICES, 7)[0], attack.draw_starts((7,), INDICES, 7)[0])


def test_starts_differ_between_keys_samples_and_restarts(attack):
    starts = [attack.draw_starts((4,), INDICES, *key) for key in ((7, 1), (7, 2), (8, 1))]
    assert len(torch.stack(starts).reshape(-1, 4).unique(dim=0)) == 3 * 3 * 3


def test_starts_leave_the_global_generator_alone(attack):
    state = torch.get_rng_state()
    attack.draw_starts((4,), INDICES, 7)
    assert torch.equal(state, torch.get_rng_state())
