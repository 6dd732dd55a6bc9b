"""When runs go on with fewer workers than they ask for."""

from typing import Any

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.elastic import Elasticity

PATIENCE = 10.0
WORKERS = WorkersConfig(count=4, min_count=2)


def nodes(**cpus: int) -> list[dict[str, Any]]:
    return [{"NodeID": name, "Resources": {"CPU": float(count)}} for name, count in cpus.items()]


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counts(elasticity: Elasticity, *args: Any, workers: WorkersConfig = WORKERS) -> list[int]:
    return [size.count for size in elasticity.sizes(workers, *args)]


def test_fewer_workers_only_once_the_nodes_stay_as_they_are() -> None:
    clock = Clock()
    elasticity = Elasticity(PATIENCE, clock)
    assert counts(elasticity, nodes(a=2, b=2)) == [4]
    assert counts(elasticity, nodes(a=2)) == [4], "the node has just left"
    clock.now += PATIENCE - 1
    assert counts(elasticity, nodes(a=2)) == [4]
    elasticity.watch(nodes(a=2), starting=1)
    clock.now += PATIENCE - 1
    assert counts(elasticity, nodes(a=2)) == [4], "another was starting"
    clock.now += 1
    assert counts(elasticity, nodes(a=2)) == [4, 3, 2]
    assert counts(elasticity, nodes(a=2, c=2)) == [4], "all fit again"


def test_a_full_cluster_is_waited_for() -> None:
    clock = Clock()
    elasticity = Elasticity(PATIENCE, clock)
    clock.now += 10 * PATIENCE
    assert counts(elasticity, nodes(a=4)) == [4], "other trials will leave the room"


def test_a_cluster_that_was_too_small_from_the_start_is_not_waited_for() -> None:
    assert counts(Elasticity(PATIENCE, Clock()), nodes(a=3)) == [4, 3, 2]


def test_without_a_minimum_a_run_waits_for_all_of_its_workers() -> None:
    assert counts(Elasticity(PATIENCE, Clock()), nodes(a=3), workers=WorkersConfig(count=4)) == [4]
