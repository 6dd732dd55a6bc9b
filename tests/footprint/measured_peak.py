"""The peak of resident memory of a run's steps, or of its edit, in bytes, as a module: ``STORAGE RUN.json``."""

import json
import sys
from pathlib import Path

import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.step import PairedStep
from hamu_ray.engine.unlearn import edit_model
from hamu_ray.pairing.group import Alone
from scripts.gpu.machine import Machine
from scripts.gpu.parts.memory import Peak


def step(run: RunConfig, resident: Resident) -> None:
    task = resident.task(run)
    model = task.unlearner(task.build_model(0), 0)
    plan = unlearning_plan(run, task.splits)
    if plan.method.edit is not None:
        edit_model(run, plan, task, model, None)
        return
    teachers = resident.teachers(task, model, "original", plan.needs, 0)
    stepper = PairedStep(task, model.train(), plan, Alone(), teachers)
    stepper(0)
    stepper(1)


def peak_of(run: RunConfig, resident: Resident) -> int:
    """Measure after a smaller run, so that what is loaded on first use does not count."""
    small = run.model.model_copy(update={"hidden_size": 24, "layers": 2, "heads": 2})
    step(run.model_copy(update={"model": small}), resident)
    resident.task(run)
    peak = Peak(Machine(torch.device("cpu"), Path()))
    step(run, resident)
    return peak.bytes()


if __name__ == "__main__":
    storage, text = sys.argv[1:]
    found = RunConfig.model_validate(json.loads(text))
    print(peak_of(found, Resident(Path(storage), torch.device("cpu"))))
