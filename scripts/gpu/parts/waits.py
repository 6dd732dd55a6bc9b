"""A step of every method with both optimizers, none of which makes the host wait for the device."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from hamu_ray.engine.history import History
from hamu_ray.methods import METHODS, check_installed
from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine
from scripts.gpu.plans import HAMU, Optimizer, plan_of, stepper_of
from scripts.gpu.record import Record, judged, not_run
from scripts.gpu.texts import TINY, RandomTexts
from scripts.gpu.waiting import no_waits

WAITING = "jd-"
"""How the names of the methods begin that are documented to wait: torchjd weighs on the host."""

STEPS = (1, 9)
"""Checked after step 0, which allocates: an ordinary step, and one that compares its promise with what it did."""

VARIANTS = {
    "fixed split": {"constraint_fraction": 0.5, "constraint_split": "grad_norm", "infeasible": "best_effort"},
    "trust region": {**HAMU, "trust_region": True},
}
"""Further settings of HAMU; the methods themselves take `HAMU`."""

OPTIMIZERS = (Optimizer("sgd", momentum=0.9), Optimizer("adamw", learning_rate=1e-4, weight_decay=0.01))


def check(machine: Machine) -> Iterator[Record]:
    batch = machine.sized(cuda=64, cpu=8)
    images = RandomImages(4 * batch, machine.device)
    for name in METHODS:
        try:
            check_installed(name)
        except ValueError as error:
            yield not_run(name, str(error))
            continue
        yield _checked(name, images, images.build_model(0), name, HAMU, batch, machine)
    for title, settings in VARIANTS.items():
        yield _checked(f"hamu-u, {title}", images, images.build_model(0), "hamu-u", settings, batch, machine)
    if not machine.cuda:
        yield not_run("hamu-q, LoRA", "a CPU cannot tell the host's own indices from the device's tensors")
        return
    texts = RandomTexts(2 * batch, 20, TINY, machine.device)
    yield _checked("hamu-q, LoRA", texts, texts.build_model(0, lora=True), "hamu-q", HAMU, batch, machine)


def _checked(
    title: str, task: Any, model: nn.Module, method: str, settings: dict, batch: int, machine: Machine
) -> Record:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    waits = {}
    for optimizer in OPTIMIZERS:
        model.load_state_dict(start)
        plan = plan_of(task, method, batch=batch, settings=settings, optimizer=optimizer)
        waits[optimizer.name] = waits_in(task, model, plan, machine)
    if method.startswith(WAITING):
        return judged(title, all(waits.values()), "documented to wait, and does not", waits="as documented")
    found = "; ".join(f"{name}: {problem}" for name, problem in waits.items() if problem)
    return judged(title, not found, found, steps=len(STEPS) * len(OPTIMIZERS))


def waits_in(task: Any, model: nn.Module, plan: Any, machine: Machine) -> str:
    """Return the first reason to wait in the steps of a plan; empty where there is none."""
    stepper, history = stepper_of(task, model, plan), History()
    history.add(1, *stepper(0))
    for step in STEPS:
        try:
            with no_waits(machine.device):
                history.add(step + 1, *stepper(step))
        except RuntimeError as error:
            return str(error).partition("\n")[0]
    return ""
