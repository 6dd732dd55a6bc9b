"""Sizes of worker groups that go on with fewer workers (`workers.min_count`)."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hamu_ray.config.workers import WorkersConfig


@given(
    copies=st.integers(1, 12),
    shards=st.sampled_from([1, 2, 3]),
    least=st.integers(1, 12),
    forget=st.none() | st.integers(1, 11),
)
def test_every_size_is_a_valid_group_with_both_roles(
    copies: int, shards: int, least: int, forget: int | None
) -> None:
    document = {
        "count": copies * shards,
        "shards": shards,
        "min_count": min(least, copies) * shards,
        "forget_workers": forget and forget * shards,
    }
    try:
        workers = WorkersConfig.model_validate(document)
    except ValidationError:
        assume(False)
    sizes = workers.sizes()
    assert [size.count for size in sizes] == list(range(workers.count, document["min_count"] - 1, -shards))
    assert sizes[0] == workers
    for size in sizes[1:]:
        part = size.forget_workers
        assert (part is None) == (size.count == shards), "alone, it computes both"
        WorkersConfig.model_validate({**size.model_dump(), "min_count": None})
        if part is not None:
            wanted = size.count * (workers.forget_workers or workers.count / 2) / workers.count
            assert abs(part - max(wanted, shards)) < shards


@pytest.mark.parametrize(
    ("workers", "forget"),
    [
        (WorkersConfig(count=8, min_count=1), [None, 3, 3, 2, 2, 1, 1, None]),
        (WorkersConfig(count=8, min_count=4, forget_workers=2), [2, 1, 1, 1, 1]),
        (WorkersConfig(count=8, min_count=2, shards=2), [None, 2, 2, None]),
        (WorkersConfig(count=4), [None]),
    ],
)
def test_the_forget_workers_of_each_size(workers: WorkersConfig, forget: list[int | None]) -> None:
    assert [size.forget_workers for size in workers.sizes()] == forget


@pytest.mark.parametrize(
    "workers", [WorkersConfig(count=4, min_count=2, shards=2), WorkersConfig(count=4, forget_workers=3)]
)
def test_one_worker_of_a_group_is_a_valid_group(workers: WorkersConfig) -> None:
    """Also where a run may not go on with one: other commands compute in one process."""
    alone = workers.alone()
    assert WorkersConfig.model_validate(alone.model_dump()) == alone
    assert [size.count for size in alone.sizes()] == [1]
