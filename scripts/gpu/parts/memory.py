"""Peak memory of a step against the documented formula, at three sizes.

Resident memory is measured in a process of its own, because other parts leave memory behind. As a module it is that
process: ``python -m scripts.gpu.parts.memory WIDTH DEPTH OPTIMIZER``.
"""

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from scripts.gpu.images import RandomImages, layers
from scripts.gpu.machine import Machine, last_line, run_module
from scripts.gpu.plans import Optimizer, plan_of, stepper_of
from scripts.gpu.record import Record, judged, not_run

WIDTHS = {(128, 16): "2.7e5", (1024, 19): "2e7", (4096, 60): "1e9"}
"""Width and number of linear layers, and about how many weights they have."""

COPIES = {"sgd": 3.2, "adamw": 5.2}
"""float32 copies of the trainable parameters that a process has at most: the formula of docs/performance.md."""

FIXED = {"cuda": 300e6, "cpu": 16e6}
"""Bytes beside them, by device: of the float64 chunks of Gram matrices, activations and workspaces."""

M_MMAP_THRESHOLD, SMALL, LARGEST = -3, 2**16, 2**25
"""glibc's name for a size in `mallopt`, that size while memory is measured, and the largest that it can be."""

TIMEOUT = 180
"""Seconds that a process for one of them gets."""

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
    if machine.cuda:
        found = peak_of(width, depth, name, machine)
    else:
        ended = run_module(__name__, str(width), str(depth), name, timeout=TIMEOUT)
        if ended.returncode:
            return judged(title, False, f"exit code {ended.returncode}: {last_line(ended.stderr)}")
        found = json.loads(last_line(ended.stdout))
    used, copy = found["bytes"], 4 * found["parameters"]
    numbers = {"parameters": found["parameters"], "MB": used / 1e6, "copies": used / copy}
    allowed = COPIES[name] * copy + FIXED[machine.device.type]
    why_not = f"more than {allowed / 1e6:.0f} MB by the formula"
    return judged(title, used <= allowed, why_not, **numbers, formula=COPIES[name])


def peak_of(width: int, depth: int, name: str, machine: Machine) -> dict[str, int]:
    """Return the number of ``parameters``, and the peak ``bytes`` of some steps in this process."""
    optimizer = Optimizer(name, learning_rate=1e-6)
    _steps(16, 1, optimizer, machine)  # what PyTorch loads on first use is none of the formula's
    machine.release()
    peak = Peak(machine)
    count = _steps(width, depth, optimizer, machine)
    return {"parameters": count, "bytes": peak.bytes()}


def _steps(width: int, depth: int, optimizer: Optimizer, machine: Machine) -> int:
    """Take some steps on linear layers; return their number of weights."""
    images = RandomImages(64, machine.device, build=lambda: layers(width, depth))
    stepper = stepper_of(images, images.build_model(0), plan_of(images, batch=8, optimizer=optimizer))
    for step in range(3):
        stepper(step)
    machine.wait()
    return stepper.flat.count


class Peak:
    """The most memory in use since it was made, beyond what was in use then: allocated on a GPU, resident on a CPU."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        if machine.cuda:
            torch.cuda.reset_peak_memory_stats(machine.device)
            self.before = torch.cuda.memory_allocated(machine.device)
            return
        _keep_freed_memory(up_to=SMALL)
        with suppress(OSError):  # where the kernel does not let it be reset, the peak is the process's
            Path("/proc/self/clear_refs").write_text("5")
        self.before = _resident("VmRSS")

    def bytes(self) -> int:
        """Return the peak so far."""
        if self.machine.cuda:
            return torch.cuda.max_memory_allocated(self.machine.device) - self.before
        peak = _resident("VmHWM") - self.before
        _keep_freed_memory(up_to=LARGEST)
        return peak


def _keep_freed_memory(up_to: int) -> None:
    """Let glibc keep freed blocks up to a size in bytes, and give larger ones back to the system at once."""
    with suppress(OSError, AttributeError):  # another C library
        glibc = ctypes.CDLL(None)
        glibc.malloc_trim(0)
        glibc.mallopt(M_MMAP_THRESHOLD, up_to)


def _resident(field: str) -> int:
    """Return a field of this process's status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    here = Machine(torch.device("cpu"), Path())
    print(json.dumps(peak_of(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], here)))
