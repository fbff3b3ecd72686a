import pytest
import torch

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Step


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_the_ranks_share_the_population(world_size):
    shares = [list(Step(0, 0, rank, world_size).members(6)) for rank in range(world_size)]
    assert sorted(member for share in shares for member in share) == list(range(6))
    assert {len(share) for share in shares} == {6 // world_size}


def test_a_population_that_cannot_be_divided_is_refused():
    with pytest.raises(ConfigurationError, match="population_size is 3; it must be a multiple of the 2 processes"):
        Step(0, 0, 0, 2).members(3)


def test_noise_depends_on_seed_batch_and_member_not_on_the_rank():
    def draw(step, member):
        return torch.randn(4, generator=step.generator(member))

    assert torch.equal(draw(Step(1, 2, 0, 2), 3), draw(Step(1, 2, 1, 2), 3))
    draws = [draw(Step(seed, batch), member) for seed in range(3) for batch in range(3) for member in range(3)]
    assert len(torch.stack(draws).unique(dim=0)) == 27
