import itertools

import torch

from gls_lightning.randomness import keyed_generator


def draw(purpose: str, *key: int) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=keyed_generator(purpose, *key)).tolist())


def test_the_arguments_determine_the_numbers() -> None:
    assert draw("a", 3, 17) == draw("a", 3, 17)


def test_different_keys_and_purposes_give_different_numbers() -> None:
    keys = [(), (0,), (0, 0), (3, 17), (17, 3), (3, 17, 0), (5, 1), (2**32 + 5,), (2**32 + 5, 0), (5, 2**32)]
    drawn = [draw(purpose, *key) for purpose, key in itertools.product("ab", keys)]
    assert len(set(drawn)) == len(drawn)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw("a", 1)
    assert torch.equal(torch.get_rng_state(), before)
