"""A run on a cluster of real nodes on this machine that loses one of them.

Run as a script, because the nodes are those of its process: RUN.json FOLDER REMAINING LEAVING, the CPUs of two nodes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from hamu_ray.config.run import RunConfig
from hamu_ray.results.outcome import Outcome, Report
from hamu_ray.workers.attempts import run_to_end
from hamu_ray.workers.cluster import ENVIRONMENT
from hamu_ray.workers.messages import Job, Started
from hamu_ray.workers.pool import start_pool
from tests.ports import free_port

PATIENCE = 4.0
"""Seconds after which the run no longer waits for the node."""

STEPS = 30
"""Steps that each group takes at least; more than between two checkpoints."""


def main(document: Path, folder: Path, remaining: int, leaving: int) -> None:
    """Run, and print the sizes of the run's groups and how it ended."""
    os.environ |= ENVIRONMENT
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "dashboard_port": free_port()})
    cluster.add_node(num_cpus=remaining)
    nodes = [cluster.add_node(num_cpus=leaving)]
    ray.init(address=cluster.address, log_to_driver=False)
    run = RunConfig.model_validate_json(document.read_text())
    pool = start_pool(run.storage.path, "elastic", 1, 1, run.workers, PATIENCE)
    groups: list[tuple[str, int]] = []
    begins: list[int] = []

    def on_start(started: Started) -> None:
        """Every worker of a group has its own event."""
        entries: Any = pool
        (found,) = ray.get(
            entries.__ray_call__.remote(
                lambda pool: [(str(entry.slot), entry.workers.count) for entry in pool._entries]
            )
        )
        if found not in groups:
            groups.append(found)
            print(groups, file=sys.stderr, flush=True)

    def on_reports(reports: list[Report]) -> None:
        step = reports[-1].step if reports[-1].phase == "unlearning" else 0
        if step and len(begins) < len(groups):
            begins.append(step)
        taken = step - begins[-1] if step else 0
        if len(begins) == 1 and nodes and taken >= STEPS:
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    try:
        end = run_to_end(Job("elastic", run, str(folder), 1), pool, 1, on_reports, on_start)
        ray.get(pool.close.remote())
    finally:
        ray.shutdown()
        cluster.shutdown()
    steps = end.steps if isinstance(end, Outcome) else 0
    sizes = [size for _, size in groups]
    print(json.dumps({"sizes": sizes, "begins": begins, "end": str(end), "steps": steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
