"""The device under test: how much it is asked for, how long, and the two ceilings that speeds are compared with."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from scripts.gpu.record import Number

ROOT = Path(__file__).resolve().parents[2]

EMULATED = 0.1
"""Share of float32's operations per second below which bfloat16 is emulated."""

Value = TypeVar("Value")


@dataclass
class Machine:
    """A device, a folder for files, and the time that is left."""

    device: torch.device
    folder: Path
    """For what parts write."""
    ends: float = field(default_factory=lambda: time.monotonic() + 540)
    """`time.monotonic` after which nothing new is started."""
    found: dict[str, float] = field(default_factory=dict)
    """Seconds that one part measured and another one needs."""

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    def sized(self, *, cuda: Value, cpu: Value) -> Value:
        """Return one of the two: the CPU gets less to do."""
        return cuda if self.cuda else cpu

    @property
    def remaining(self) -> float:
        """Seconds left."""
        return self.ends - time.monotonic()

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give back memory that nothing uses any more."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def seconds(self, call: Callable[[], object], *, rounds: int = 5, least: float = 0.1) -> float:
        """Return the median seconds of a call over rounds of at least ``least`` seconds, the device's work included."""
        return self.alternating(call, rounds=rounds, least=least)[0]

    def alternating(
        self, *calls: Callable[[], object], rounds: int = 5, least: float = 0.1
    ) -> Sequence[float]:
        """Return the median seconds of each call, timed in turn, so that other load affects all of them equally."""
        for call in calls:
            self._timed(call, 1)
        times = [max(1, round(least / max(self._timed(call, 1), 1e-9))) for call in calls]
        found = [[self._timed(*each) for each in zip(calls, times, strict=True)] for _ in range(rounds)]
        return [median(seconds) for seconds in zip(*found, strict=True)]

    def _timed(self, call: Callable[[], object], times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - began) / times

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that a large copy within the device's memory reads and writes together."""
        count = self.sized(cuda=2**30, cpu=2**25)
        source = torch.ones(count, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * count / self.seconds(lambda: target.copy_(source))

    def flops(self, precision: str) -> float:
        """Return the floating-point operations a second of a large matrix product.

        ``precision`` is ``float32``, ``tf32`` or ``bfloat16``; random inputs, since zeros draw less power.
        """
        if precision not in self._flops:
            size = self.sized(cuda=8192, cpu=512)
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            left, right = torch.randn(2, size, size, device=self.device).to(dtype).unbind(0)
            with tf32(precision == "tf32"):
                self._flops[precision] = 2 * size**3 / self.seconds(lambda: left @ right, rounds=3)
        return self._flops[precision]

    @property
    def precision(self) -> str:
        """bfloat16, or float32 where the device only emulates bfloat16."""
        return "bfloat16" if self.flops("bfloat16") >= EMULATED * self.flops("float32") else "float32"

    _flops: dict[str, float] = field(default_factory=dict, init=False)

    def description(self) -> Mapping[str, Number]:
        """Return what the results hang on, without names of hosts."""
        if not self.cuda:
            return {
                "device": "CPU",
                "cores": os.cpu_count() or 0,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        properties = torch.cuda.get_device_properties(self.device)
        return {
            "device": properties.name,
            "memory GiB": properties.total_memory / 2**30,
            "multiprocessors": properties.multi_processor_count,
            "GPUs": torch.cuda.device_count(),
            "torch": torch.__version__,
            "CUDA": torch.version.cuda or "",
            "cuDNN": torch.backends.cudnn.version() or 0,
        }


def run_module(
    module: str, *arguments: str, timeout: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module, with its arguments, in a process that finds the checkout as this one does; return its end.

    A process that takes longer than ``timeout`` seconds is killed, and its exit code is that of ``timeout(1)``.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", module, *arguments]
    environment = {**environment, **os.environ, "PYTHONPATH": path}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no end within {timeout:g} s")


def last_line(text: str) -> str:
    """Return the last line of what a process said, where its error is."""
    return (text.strip().splitlines() or ["no error"])[-1]


class tf32:
    """Within, float32 products and convolutions on CUDA may (or may not) use TF32."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before
