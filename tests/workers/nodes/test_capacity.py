"""How many worker groups fit which nodes."""

import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.capacity import fit_together, gpu_time, groups_that_fit


def workers(
    count: int = 2, cpus: float = 1.0, gpus: float = 0.0, accelerator: str | None = None
) -> WorkersConfig:
    return WorkersConfig(count=count, cpus=cpus, gpus=gpus, accelerator=accelerator)


@pytest.mark.parametrize(
    ("group", "nodes", "groups"),
    [
        (workers(), [{"CPU": 2.0}], 1),
        (workers(), [{"CPU": 1.0}, {"CPU": 1.0}], 1),
        (workers(cpus=2.0), [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 3.0}], 1),
        (workers(cpus=4.0), [{"CPU": 3.0}] * 8, 0),
        (workers(cpus=0.1), [{"CPU": 0.6}], 3),
        (workers(gpus=0.25), [{"CPU": 16.0, "GPU": 1.0}], 2),
        (workers(gpus=1.0), [{"CPU": 16.0}, {"CPU": 4.0, "GPU": 2.0}], 1),
        (workers(), [{"memory": 1e9}], 0),
        (workers(gpus=1.0, accelerator="A100"), [{"CPU": 9.0, "GPU": 4.0}], 0),
        (
            workers(gpus=1.0, accelerator="A100"),
            [{"CPU": 9.0, "GPU": 4.0, "accelerator_type:A100": 1.0}] * 2,
            4,
        ),
    ],
)
def test_groups_that_fit(group: WorkersConfig, nodes: list[dict[str, float]], groups: int) -> None:
    assert groups_that_fit(group, nodes) == groups
    assert fit_together([group] * groups, nodes)
    assert not fit_together([group] * (groups + 1), nodes)


@given(
    sizes=st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1.0, 2.0])), max_size=3),
    nodes=st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_groups_reported_to_fit_do_fit(sizes: list[tuple[int, float]], nodes: list[int]) -> None:
    groups = [workers(count, cpus) for count, cpus in sizes]
    single = [group.cpus for group in groups for _ in range(group.count)]
    if not fit_together(groups, [{"CPU": float(cpus)} for cpus in nodes]):
        return
    placings = product(range(len(nodes)), repeat=len(single))
    assert any(
        all(
            sum(c for c, at in zip(single, placing, strict=True) if at == n) <= nodes[n]
            for n in range(len(nodes))
        )
        for placing in placings
    )


def test_gpu_time_follows_nodes_that_come_and_go() -> None:
    counts = iter([0.0] + [4.0] * 1000)
    began = time.monotonic()
    with gpu_time(lambda: next(counts), interval=0.02) as measured:
        time.sleep(0.3)
    assert 0.3 <= measured.seconds <= 4 * (time.monotonic() - began)
    with gpu_time(lambda: 0.0, interval=0.02) as measured:
        pass
    assert measured.seconds == 0.0
