"""As a module: the peak of resident memory of a run's steps, in bytes: ``RUN.json STORAGE DEVICE_OF_NOTHING``."""

import json
import sys
from pathlib import Path

import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.pairing.group import Alone
from scripts.gpu.machine import Machine
from scripts.gpu.parts.memory import Peak


def steps(run: RunConfig, resident: Resident) -> None:
    task = resident.task(run)
    model = task.unlearner(task.build_model(0), 0)
    plan = unlearning_plan(run, task.splits)
    teachers = resident.teachers(task, model, "original", plan.needs, 0)
    stepper = PairedStep(task, model.train(), plan, Alone(), teachers)
    for step in range(2):
        stepper(step)


def main(small: str, large: str, storage: str) -> int:
    """Measure the second run after the first has loaded what is loaded on first use."""
    resident = Resident(Path(storage), torch.device("cpu"))
    runs = [RunConfig.model_validate(json.loads(text)) for text in (small, large)]
    steps(runs[0], resident)
    resident.task(runs[1])
    peak = Peak(Machine(torch.device("cpu"), Path()))
    steps(runs[1], resident)
    return peak.bytes()


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
