"""A step under a limit of a process's own memory, alone or as one of several shards, as a module.

``STORAGE RUN.json BYTES [RANK PORT]`` prints the loss of the step, or the error that it ends with. The limit
(RLIMIT_DATA) is of private writable memory, on top of what the process has after a step of a tiny model.
"""

import json
import os
import resource
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.placement import build_device, placed
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Alone, Distributed, Group
from scripts.gpu.parts.memory import SMALL, _keep_freed_memory

TINY = {"hidden_size": 24, "layers": 2, "heads": 2}


def step(run: RunConfig, resident: Resident, group: Group) -> float:
    task, shards = resident.task(run), group.split(run.workers.shards)[1]
    model = task.unlearner(task.build_model(0, device=build_device(task, shards)), 0)
    model = placed(model, task, shards)
    plan = unlearning_plan(run, task.splits)
    teachers = resident.teachers(task, model, "original", plan.needs, 0)
    diagnostics, _ = PairedStep(task, model.train(), plan, group, teachers)(0)
    return float(diagnostics["step_retain_loss"])


def own_memory() -> int:
    """Return the bytes of this process's private writable memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))


def main(storage: str, text: str, size: str, rank: str = "0", port: str = "") -> None:
    torch.set_num_threads(1)
    run = RunConfig.model_validate(json.loads(text))
    group: Group = Alone()
    if port:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        dist.init_process_group("gloo", rank=int(rank), world_size=run.workers.count)
        group = Distributed()
    resident = Resident(Path(storage), torch.device("cpu"))
    tiny = run.model_copy(update={"model": run.model.model_copy(update=TINY)})
    step(tiny, resident, group)
    _keep_freed_memory(up_to=SMALL)  # what is free counts for nothing
    limit = own_memory() + int(size)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        print(step(run, resident, group), flush=True)
    except (RuntimeError, MemoryError) as error:
        print(str(error).splitlines()[0], flush=True)
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


if __name__ == "__main__":
    main(*sys.argv[1:])
