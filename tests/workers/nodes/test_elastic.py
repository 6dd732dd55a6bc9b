"""When runs go on with fewer workers than they ask for."""

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.workers.nodes.elastic import Elasticity

PATIENCE = 10.0
WORKERS = WorkersConfig(count=4, min_count=2)


WHOLE, TOO_FEW = [{"CPU": 2.0}, {"CPU": 2.0}], [{"CPU": 2.0}, {"CPU": 1.0}]


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counts(sizes: list[WorkersConfig]) -> list[int]:
    return [size.count for size in sizes]


def test_fewer_workers_only_once_the_nodes_have_been_too_few_for_a_while() -> None:
    clock = Clock()
    elasticity = Elasticity(PATIENCE, clock)
    elasticity.watch([WORKERS], WHOLE)
    clock.now += PATIENCE - 1
    elasticity.watch([WORKERS], WHOLE)
    clock.now += PATIENCE - 1
    assert counts(elasticity.sizes(WORKERS, TOO_FEW)) == [4], "a node has just left"
    clock.now += 1
    assert counts(elasticity.sizes(WORKERS, TOO_FEW)) == [4, 3, 2]
    assert counts(elasticity.sizes(WORKERS, TOO_FEW[:1])) == [4, 3, 2], (
        "another one left: no reason to wait longer"
    )
    assert counts(elasticity.sizes(WORKERS, WHOLE)) == [4], "all fit again, though others may hold the room"
    assert counts(elasticity.sizes(WORKERS, TOO_FEW)) == [4]


def test_a_cluster_that_was_too_small_from_the_start_is_not_waited_for() -> None:
    assert counts(Elasticity(PATIENCE, Clock()).sizes(WORKERS, TOO_FEW)) == [4, 3, 2]


def test_without_a_minimum_a_run_waits_for_all_of_its_workers() -> None:
    assert counts(Elasticity(PATIENCE, Clock()).sizes(WorkersConfig(count=4), TOO_FEW)) == [4]
