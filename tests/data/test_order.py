from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.data import EvaluationOrder, ImageDataset, TrainingOrder
from gls_lightning.data.order import even_batch_size

sizes = st.integers(1, 60)
worlds = st.integers(1, 5)
batch_sizes = st.integers(1, 12)


def dataset(size: int) -> ImageDataset:
    return ImageDataset(torch.zeros(size, 1, 1, 1, dtype=torch.uint8), torch.zeros(size, dtype=torch.int64))


def orders(size: int, batch_size: int, world_size: int, epoch: int = 0) -> list[TrainingOrder]:
    result = [
        TrainingOrder(dataset(size), batch_size=batch_size, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for order in result:
        order.set_epoch(epoch)
    return result


def batches(entries: list[int], batch_size: int) -> list[list[int]]:
    return [entries[i : i + batch_size] for i in range(0, len(entries), batch_size)]


@given(sizes, batch_sizes, worlds)
def test_processes_share_each_batch_of_one_process(size: int, batch_size: int, world_size: int) -> None:
    shares = [batches(list(order), batch_size) for order in orders(size, batch_size, world_size)]
    (alone,) = orders(size, batch_size * world_size, 1)
    expected = batches(list(alone), batch_size * world_size)
    if expected and len(expected[-1]) < world_size:
        expected.pop()
    assert {len(share) for share in shares} == {len(expected)}
    for step, whole in enumerate(expected):
        parts = [share[step] for share in shares]
        assert sorted(chain(*parts)) == sorted(whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(sizes, batch_sizes, worlds)
def test_length_is_what_is_yielded(size: int, batch_size: int, world_size: int) -> None:
    for order in orders(size, batch_size, world_size):
        assert len(order) == len(list(order))


def test_one_process_reads_everything_once_in_each_epoch() -> None:
    (order,) = orders(50, 8, 1)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        keys = torch.tensor(list(order))
        assert torch.equal(keys // 50, torch.full((50,), epoch))
        epochs.append((keys % 50).tolist())
        assert sorted(epochs[-1]) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]
    order.set_epoch(1)
    assert [key % 50 for key in order] == epochs[1]


def test_seeds_give_different_orders() -> None:
    assert list(TrainingOrder(dataset(50), batch_size=8, seed=0)) != list(
        TrainingOrder(dataset(50), batch_size=8, seed=1)
    )


def test_start_leaves_out_whole_batches() -> None:
    (order,) = orders(50, 8, 1, epoch=2)
    everything = list(order)
    order.start = 3
    assert list(order) == everything[24:]
    assert len(order) == 50


@given(sizes, batch_sizes, worlds, st.integers(1, 4))
def test_a_last_batch_that_is_too_small_for_a_process_is_left_out(
    size: int, batch_size: int, world_size: int, smallest: int
) -> None:
    shares = [
        batches(
            list(
                TrainingOrder(
                    dataset(size),
                    batch_size=batch_size,
                    seed=3,
                    rank=rank,
                    world_size=world_size,
                    smallest_batch=min(smallest, batch_size),
                )
            ),
            batch_size,
        )
        for rank in range(world_size)
    ]
    assert all(len(batch) >= min(smallest, batch_size) for share in shares for batch in share)
    used = sum(len(batch) for share in shares for batch in share)
    assert used == size or size - used == size % (batch_size * world_size) < smallest * world_size


@given(sizes, worlds)
def test_evaluation_reads_everything_once_in_order(size: int, world_size: int) -> None:
    shares = [list(EvaluationOrder(dataset(size), rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(chain(*shares)) == list(range(size))
    assert all(share == sorted(share) for share in shares)


@given(sizes, worlds, batch_sizes)
def test_even_batch_size_by_brute_force(size: int, world_size: int, limit: int) -> None:
    shares = [len(range(rank, size, world_size)) for rank in range(world_size)]
    even = [b for b in range(1, limit + 1) if len({-(-share // b) for share in shares}) == 1]
    assert even_batch_size(size, world_size, limit) == max(even, default=None)


@pytest.mark.parametrize("world_size", [1, 2])
def test_even_batch_size_keeps_the_limit_where_it_can(world_size: int) -> None:
    assert even_batch_size(10_000, world_size, 500) == 500
