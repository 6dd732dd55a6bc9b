import torch
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.pairing.batches import Batches
from hamu_ray.pairing.roles import Role, assign


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5), st.integers(0, 4))
def test_every_pass_covers_the_examples_once(count: int, size: int, seed: int, number: int) -> None:
    batches = Batches(torch.arange(count) + 7, size, seed)
    parts = [batches(number * batches.per_pass + i) for i in range(batches.per_pass)]
    assert sorted(torch.cat(parts).tolist()) == list(range(7, count + 7))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    examples = torch.arange(40)
    forward, backward = Batches(examples, 8, 3), Batches(examples, 8, 3)
    expected = [forward(step).tolist() for step in range(20)]
    assert [backward(step).tolist() for step in reversed(range(20))] == expected[::-1]
    assert [Batches(examples, 8, 4)(step).tolist() for step in range(20)] != expected


@given(st.integers(0, 50), st.sampled_from([1, 2, 4, 8]))
def test_shards_are_disjoint_and_cover_the_batch(count: int, size: int) -> None:
    batch = torch.arange(count)
    for role in Role:
        parts = [assign(rank, size, tuple(Role)) for rank in range(size)]
        shards = [part.shard(batch) for part in parts if role in part.roles]
        assert torch.cat(shards).tolist() == batch.tolist()


def test_one_objective_is_shared_by_all_workers() -> None:
    parts = [assign(rank, 3, (Role.FORGET,)) for rank in range(3)]
    assert all(part.roles == (Role.FORGET,) and part.size == 3 for part in parts)
    assert [part.index for part in parts] == [0, 1, 2]
