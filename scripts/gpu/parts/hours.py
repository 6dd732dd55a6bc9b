"""Hours of the paper's experiments on this device, from what the parts before measured."""

from collections.abc import Iterator

from scripts.gpu.experiments import ANSWERS, LANGUAGE, TEXT_STEPS, VISION, Speeds, hours
from scripts.gpu.machine import Machine
from scripts.gpu.record import Record, measured, not_run

PRECISION = "bfloat16"
"""Of the paper's recipes."""


def check(machine: Machine) -> Iterator[Record]:
    yield from _vision(machine)
    step = machine.found.get("step LoRA on 7B")
    if step is None:
        yield not_run("WaterDrum-TOFU", "no step of the 7B model was measured")
        return
    trial = TEXT_STEPS * step + ANSWERS * machine.found["greedy answers of 7B"]
    for name, trials in LANGUAGE.items():
        yield measured(f"waterdrum_tofu/{name}", trials=trials, hours=trials * trial / 3600)


def _vision(machine: Machine) -> Iterator[Record]:
    steps = {
        int(name.split()[1]): seconds
        for name, seconds in machine.found.items()
        if name.startswith("step ") and name.endswith(f" {PRECISION}")
    }
    if not steps or "outputs" not in machine.found:
        yield not_run("CIFAR-10", "the parts speed and evaluation measured nothing")
        return
    largest = max(steps)
    image = machine.found[f"gradients {largest} {PRECISION}"] / (2 * largest)
    speeds = Speeds(steps, image, machine.found["outputs"], machine.found["metrics"])
    for name, experiment in VISION.items():
        trials, models = hours(experiment, speeds)
        numbers = {"trials": experiment.trials, "hours": trials + models, "of them models": models}
        yield measured(
            f"cifar/{name}", **numbers, **({} if largest >= 5000 else {"from batches of": largest})
        )
