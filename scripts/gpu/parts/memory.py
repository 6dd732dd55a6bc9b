"""Peak memory of a step against the documented formula, at three sizes."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from scripts.gpu.images import RandomImages, layers
from scripts.gpu.machine import Machine
from scripts.gpu.plans import Optimizer, plan_of, stepper_of
from scripts.gpu.record import Record, judged, not_run

WIDTHS = {(128, 16): "2.7e5", (1024, 19): "2e7", (4096, 60): "1e9"}
"""Width and number of linear layers, and about how many weights they have."""

COPIES = {"sgd": 6.2, "adamw": 9.1}
"""float32 copies of the trainable parameters that a process has at most: the formula of docs/performance.md."""

FIXED = {"cuda": 300e6, "cpu": 16e6}
"""Bytes beside them, by device: of the float64 chunks of Gram matrices, activations and workspaces."""

ON_GPUS = {"2.7e5": "resident memory is too coarse", "1e9": "takes minutes on a CPU"}
"""Sizes that a CPU leaves out, and why."""


def check(machine: Machine) -> Iterator[Record]:
    for (width, depth), size in WIDTHS.items():
        for optimizer, copies in COPIES.items():
            title = f"{size} parameters, {optimizer}"
            expected = copies * 4 * width**2 * depth + FIXED[machine.device.type]
            if not machine.cuda and size in ON_GPUS:
                yield not_run(title, ON_GPUS[size])
            elif machine.cuda and expected > 0.95 * torch.cuda.mem_get_info(machine.device)[0]:
                yield not_run(title, f"needs {expected / 1e9:.1f} GB by the formula", GB=expected / 1e9)
            else:
                yield _checked(title, width, depth, optimizer, machine)


def _checked(title: str, width: int, depth: int, name: str, machine: Machine) -> Record:
    images = RandomImages(64, machine.device, build=lambda: layers(width, depth))
    machine.release()
    peak = Peak(machine)
    stepper = stepper_of(
        images, images.build_model(0), plan_of(images, batch=8, optimizer=Optimizer(name, 1e-6))
    )
    for step in range(3):
        stepper(step)
    machine.wait()
    used, copy = peak.bytes(), 4 * stepper.flat.count
    numbers = {
        "parameters": stepper.flat.count,
        "MB": used / 1e6,
        "copies": used / copy,
        "formula": COPIES[name],
    }
    allowed = COPIES[name] * copy + FIXED[machine.device.type]
    return judged(title, used <= allowed, f"more than {allowed / 1e6:.0f} MB by the formula", **numbers)


class Peak:
    """The most memory in use since it was made, beyond what was in use then: allocated on a GPU, resident on a CPU."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        if machine.cuda:
            torch.cuda.reset_peak_memory_stats(machine.device)
            self.before = torch.cuda.memory_allocated(machine.device)
        else:
            with suppress(OSError):  # where the kernel does not let it be reset, the peak is the process's
                Path("/proc/self/clear_refs").write_text("5")
            self.before = _resident("VmRSS")

    def bytes(self) -> int:
        """Return the peak so far."""
        if self.machine.cuda:
            return torch.cuda.max_memory_allocated(self.machine.device) - self.before
        return _resident("VmHWM") - self.before


def _resident(field: str) -> int:
    """Return a field of this process's status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
