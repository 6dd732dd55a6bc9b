"""The training function of a slot's Ray Train workers, which runs one job after another until the slot closes."""

import logging
from collections.abc import Sequence
from typing import Any

import ray
import torch
from ray.train import get_context
from ray.train.torch import get_device

from hamu_ray.config.sources.document import first_line
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone, Distributed, Group, PeerLost
from hamu_ray.results.outcome import Failure, Report, Verdict
from hamu_ray.storage import storage_error, storage_path
from hamu_ray.workers.heartbeat import Heartbeat
from hamu_ray.workers.messages import Job
from hamu_ray.workers.nodes.shared_storage import not_shared, sees_marker
from hamu_ray.workers.nodes.spot import source_here, spot_notices_watched
from hamu_ray.workers.nodes.system import SystemMetrics
from hamu_ray.workers.ray_private import this_actor

logger = logging.getLogger(__name__)


def serve(config: dict[str, Any]) -> None:
    """Fetch jobs from the slot and run them. Data and models stay in this process between jobs."""
    slot = config["slot"]
    group: Group = Distributed() if torch.distributed.is_initialized() else Alone()
    ray.get(slot.enroll.remote(group.rank, this_actor()))
    first_here = get_context().get_local_rank() == 0
    node = f"{ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()}"
    system = SystemMetrics(node)
    with (
        Heartbeat(lambda: slot.beat.remote(system.due()), config["heartbeat_seconds"]) as heartbeat,
        spot_notices_watched(source_here() if first_here else None),
    ):
        resident = Resident(storage_path(config["storage"]), get_device())
        shared = sees_marker(storage_path(config["place"]), config["marker"])
        gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        problem = gpu_problem(gpus, node) if shared else not_shared(config["storage"], node)
        number = join(slot, group, node)
        while (job := ray.get(slot.fetch.remote(number))) is not None:
            system.begin(first_here and job.run.tracking.system_metrics)
            run_job(job, slot, group, resident, heartbeat, problem)
            system.begin(False)
            number += 1


def gpu_problem(gpus: Sequence[str], node: str) -> str:
    """Return why torch cannot use the GPUs that Ray assigned to this process, in one line; empty if it can.

    Ray Train would use the CPU instead.
    """
    if not gpus or torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
        reason = "no GPU is visible"
    except (RuntimeError, AssertionError) as error:  # too old a driver, none, or torch for CPUs only
        reason = first_line(error)
    return (
        f"workers.gpus: node {node} has a GPU that torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use: "
        f"{reason}; give the node an image with a newer NVIDIA driver, see docs/cluster.md"
    )


def join(slot: Any, group: Group, node: str) -> int:
    """Register the group with the slot; return the index of its first job.

    Only rank 0 calls the slot, which may end a job that has killed too many groups; ranks must agree on that.
    """
    nodes = list(dict.fromkeys(gather_texts(group, node)))
    number = str(ray.get(slot.join.remote(nodes))) if group.rank == 0 else ""
    return int(gather_texts(group, number)[0])


def run_job(
    job: Job, slot: Any, group: Group, resident: Resident, heartbeat: Heartbeat, problem: str
) -> None:
    """Run one job and post its events to the slot; a ``problem`` of this worker fails every job.

    An error that occurs before any rank waits for another ends only the job. Any other error may leave ranks waiting
    for this one, so it is raised, and Ray Train restarts the whole group.
    """

    def post(report: Report) -> Verdict:
        heartbeat.count_report()
        verdict: Verdict = ray.get(slot.post.remote(job.trial, report))
        return verdict

    try:
        resident.task(job.run)
    except Exception as error:
        logger.exception("cannot prepare job %s", job.trial)
        problem = problem or f"{type(error).__name__}: {error}"
    problems = [text for text in gather_texts(group, problem) if text]
    if problems:
        if group.rank == 0:
            ray.get(slot.post.remote(job.trial, Failure(problems[0])))
        return
    try:
        outcome = unlearn(job.run, resident, group, storage_path(job.folder), post, job.pauses, job.keeping)
    except PeerLost:
        raise  # another worker died: the job continues with the next group
    except Exception as error:
        lost = storage_error(error) is not None
        ray.get(slot.post.remote(job.trial, Failure(f"{type(error).__name__}: {error}", storage_lost=lost)))
        raise
    if group.rank == 0:
        ray.get(slot.post.remote(job.trial, outcome))


def gather_texts(group: Group, text: str) -> list[str]:
    """Return the texts of all ranks, on every rank."""
    if group.size == 1:
        return [text]
    texts: list[str] = [""] * group.size
    torch.distributed.all_gather_object(texts, text)
    return texts
