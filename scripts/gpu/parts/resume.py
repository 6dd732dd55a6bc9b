"""A run killed after a checkpoint and continued, bit by bit the undisturbed one; and what determinism costs.

Run as a module it is the run that dies: ``python -m scripts.gpu.parts.resume FOLDER DEVICE SETTING CASE``.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hamu_ray.engine.files.checkpoint import Checkpoints
from hamu_ray.engine.loop import Loop
from hamu_ray.engine.state import changing_state
from hamu_ray.pairing.group import Alone
from hamu_ray.results.outcome import Report, Verdict
from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine, last_line, run_module, tf32
from scripts.gpu.plans import HAMU, Optimizer, plan_of, stepper_of
from scripts.gpu.record import Record, judged, not_run
from scripts.gpu.texts import TINY, RandomTexts

STEPS, EVERY, DIES_AT = 6, 2, 4
"""The run dies when it reports step 4, before it writes that checkpoint: it continues from step 2."""


@dataclass(frozen=True)
class Setting:
    """How PyTorch is to compute."""

    deterministic: bool
    tf32: bool


SETTINGS: Mapping[str, Setting] = {
    "as PyTorch is": Setting(False, False),
    "TF32": Setting(False, True),
    "deterministic": Setting(True, False),
}
TIMEOUT = 180
"""Seconds that the run to be killed gets."""
CASES = ("images, hamu-u with a trust region", "texts, hamu-q with AdamW and dropout")


@contextmanager
def applied(setting: Setting) -> Iterator[None]:
    """Within, PyTorch computes as the setting says."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(setting.deterministic)
    torch.backends.cudnn.deterministic = setting.deterministic
    try:
        with tf32(setting.tf32):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]


def prepared(case: str, device: torch.device) -> tuple[Any, torch.nn.Module, Any]:
    """Return task, model and plan of a case: running statistics move in one, and dropout draws in the other."""
    if case == CASES[0]:
        images = RandomImages(128, device)
        settings = {**HAMU, "trust_region": True}
        optimizer = Optimizer("sgd", learning_rate=0.1, momentum=0.9)
        plan = plan_of(
            images,
            "hamu-u",
            batch=24,
            settings=settings,
            optimizer=optimizer,
            steps=STEPS,
            checkpoint_every=EVERY,
            freeze_batchnorm=False,
        )
        return images, images.build_model(0), plan
    texts = RandomTexts(32, 10, TINY, device)
    optimizer = Optimizer("adamw", learning_rate=1e-3)
    plan = plan_of(texts, "hamu-q", batch=8, optimizer=optimizer, steps=STEPS, checkpoint_every=EVERY)
    return texts, texts.build_model(0, lora=True, dropout=0.05), plan


def outcome(
    case: str, device: torch.device, folder: Path, *, dies: bool = False
) -> tuple[dict[str, Tensor], int]:
    """Run a case in a folder, from its checkpoint if there is one; return the weights and the step it began at."""
    task, model, plan = prepared(case, device)

    def on_report(report: Report) -> Verdict:
        if dies and report.step >= DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return Verdict.GO_ON

    group = Alone()
    loop = Loop(
        task=task,
        model=model,
        plan=plan,
        group=group,
        measure=lambda model, full: {},
        on_report=on_report,
        checkpoints=Checkpoints(folder, group),
    )
    ended = loop.run()
    return {name: value.clone() for name, value in changing_state(model).items()}, ended.resumed_at


def check(machine: Machine) -> Iterator[Record]:
    for case in CASES:
        for name, setting in SETTINGS.items():
            title = f"{case}, {name}"
            if setting.tf32 and not machine.cuda:
                yield not_run(title, "a CPU has no TF32")
                continue
            yield _checked(title, case, name, machine)
    yield from _costs(machine)


def _checked(title: str, case: str, setting: str, machine: Machine) -> Record:
    folders = [machine.folder / f"{title}-{role}" for role in ("first", "again", "killed")]
    arguments = (str(folders[2]), str(machine.device), setting, case)
    killed = run_module("scripts.gpu.parts.resume", *arguments, timeout=TIMEOUT)
    if killed.returncode != -signal.SIGKILL:
        reason = last_line(killed.stderr)
        return judged(title, False, f"the run to be killed ended with {killed.returncode}: {reason}")
    with applied(SETTINGS[setting]):
        first, _ = outcome(case, machine.device, folders[0])
        again, _ = outcome(case, machine.device, folders[1])
        resumed, began = outcome(case, machine.device, folders[2])
    repeats, same = difference(first, again) == 0, difference(first, resumed) == 0
    numbers = {"resumed at": began, "same bits": same, "repeats itself": repeats}
    if began != EVERY:
        return judged(title, False, f"resumed at step {began}, expected {EVERY}", **numbers)
    if not same:
        numbers["difference"] = difference(first, resumed)
    # Without determinism a run that does not repeat itself has nothing to be resumed to.
    excused = not repeats and not SETTINGS[setting].deterministic
    return judged(title, same or excused, "the resumed run ends elsewhere", **numbers)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference of any element of two states; infinite for differences that are not finite."""
    found = [(one[name].double() - other[name].double()).abs().max() for name in one]
    return float(torch.stack(found).nan_to_num(nan=torch.inf).max())


def _costs(machine: Machine) -> Iterator[Record]:
    """Compare the time of a step with determinism and without it."""
    batch = machine.sized(cuda=500, cpu=32)
    images = RandomImages(2 * batch, machine.device)
    seconds = {}
    for name in ("as PyTorch is", "deterministic"):
        with applied(SETTINGS[name]):
            stepper = stepper_of(images, images.build_model(0), plan_of(images, batch=batch))
            seconds[name] = machine.seconds(lambda: stepper(1), rounds=3)  # noqa: B023 - called at once
    plain, deterministic = seconds.values()
    numbers = {"ms": 1e3 * plain, "ms deterministic": 1e3 * deterministic, "ratio": deterministic / plain}
    yield judged(f"cost of determinism, 2 x {batch} images", True, "", **numbers)


if __name__ == "__main__":
    folder, device, setting, case = sys.argv[1:]
    with applied(SETTINGS[setting]):
        outcome(case, torch.device(device), Path(folder), dies=True)
