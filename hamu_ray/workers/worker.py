"""What each Ray Train worker of a slot does: one job after the other, until the slot closes."""

import logging
from typing import Any

import ray
import torch
from ray.train.torch import get_device

from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone, Distributed, Group, PeerLost
from hamu_ray.results.outcome import Failure, Report, Verdict
from hamu_ray.storage import storage_path
from hamu_ray.workers.messages import Job
from hamu_ray.workers.shared_storage import sees, unseen

logger = logging.getLogger(__name__)


def serve(config: dict[str, Any]) -> None:
    """Fetch jobs from the slot and do them; the worker's data and models stay resident in between."""
    slot = config["slot"]
    group: Group = Distributed() if torch.distributed.is_initialized() else Alone()
    resident = Resident(storage_path(config["storage"]), get_device())
    shared = sees(storage_path(config["place"]), config["sign"])
    # Rank 0 asks for all: asking may end a job that has killed too many groups, and ranks must not disagree on it.
    node = f"{ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()}"
    nodes = list(dict.fromkeys(gather_texts(group, node)))
    asked = str(ray.get(slot.position.remote(nodes))) if group.rank == 0 else ""
    number = int(gather_texts(group, asked)[0])
    while True:
        job = ray.get(slot.fetch.remote(number))
        if job is None:
            return
        do(job, slot, group, resident, "" if shared else unseen(config["storage"], node))
        number += 1


def do(job: Job, slot: Any, group: Group, resident: Resident, problem: str) -> None:
    """Do one job and post its news; none can be done where there is a problem already.

    What fails on every rank alike, before any rank waits for another, ends the job alone. Any other error may leave
    ranks waiting for this one, so it is raised, and Ray Train starts the whole group again.
    """

    def post(report: Report) -> Verdict:
        verdict: Verdict = ray.get(slot.post.remote(job.trial, report))
        unlearning = report.phase == "unlearning"
        if (
            verdict is Verdict.GO_ON
            and unlearning
            and job.rivals
            and job.rivals.beat(report.step, report.measures)
        ):
            return Verdict.PRUNE
        return verdict

    try:
        resident.task(job.run)
    except Exception as error:
        logger.exception("job %s cannot be prepared", job.trial)
        problem = problem or f"{type(error).__name__}: {error}"
    problems = [p for p in gather_texts(group, problem) if p]
    if problems:
        if group.rank == 0:
            ray.get(slot.post.remote(job.trial, Failure(problems[0])))
        return
    try:
        outcome = unlearn(job.run, resident, group, storage_path(job.folder), post)
    except PeerLost:
        raise  # the other worker's death: the job goes on with the next group
    except Exception as error:
        ray.get(slot.post.remote(job.trial, Failure(f"{type(error).__name__}: {error}")))
        raise
    if group.rank == 0:
        ray.get(slot.post.remote(job.trial, outcome))


def gather_texts(group: Group, text: str) -> list[str]:
    """Return every rank's text, on every rank."""
    if group.size == 1:
        return [text]
    texts: list[str] = [""] * group.size
    torch.distributed.all_gather_object(texts, text)
    return texts
