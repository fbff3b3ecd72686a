import weakref

import pytest
import torch

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators.population import check_chunk_size, evaluate_members, members_at_once


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 10])
def test_every_member_is_evaluated_once_in_order(at_once):
    results = list(evaluate_members(lambda p: (p["x"] * 2, {"m": p["x"]}), make, range(1, 8), at_once))
    assert torch.cat([value for value, _ in results]).tolist() == [2.0 * member for member in range(1, 8)]
    assert torch.cat([metrics["m"] for _, metrics in results]).tolist() == [float(n) for n in range(1, 8)]
    assert [len(value) for value, _ in results] == [min(at_once, 7 - start) for start in range(0, 7, at_once)]


def make(member: int) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor(float(member))}


@pytest.mark.parametrize("at_once", [1, 4])
def test_no_more_members_exist_than_are_evaluated_at_once(at_once):
    made, most = weakref.WeakSet(), 0

    def member(number):
        nonlocal most
        params = make(number)
        made.add(params["x"])
        most = max(most, len(made))
        return params

    for _ in evaluate_members(lambda p: p["x"] * 2, member, range(20), at_once):
        assert not made
    assert most == at_once


def test_the_chosen_number_goes_before_what_the_objective_suggests():
    def objective(params):
        return params["x"], {}

    assert members_at_once(objective, None, 100) == 1
    objective.members_at_once = 5
    assert members_at_once(objective, None, 100) == 5
    assert members_at_once(objective, 2, 100) == 2
    assert members_at_once(objective, 200, 100) == 100


@pytest.mark.parametrize(("suggested", "members", "expected"), [(3, 100, 1), (100, 3, 1), (4, 100, 4), (100, 4, 4)])
def test_few_members_are_taken_one_by_one_unless_a_number_is_chosen(suggested, members, expected):
    def objective(params):
        return params["x"], {}

    objective.members_at_once = suggested
    assert members_at_once(objective, None, members) == expected
    assert members_at_once(objective, 2, members) == 2


def test_chunks_below_one_are_refused():
    for chunk_size in (None, 1, 7):
        check_chunk_size(chunk_size)
    with pytest.raises(ConfigurationError, match="chunk_size is 0; it must be at least 1, or null"):
        check_chunk_size(0)
