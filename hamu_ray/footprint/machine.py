"""The cores, memory and GPUs of this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.wording import counted

GIB = 2**30
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the memory that a container may use, of the two versions of cgroups."""

QUERY = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
QUERY_SECONDS = 20


@dataclass(frozen=True)
class Gpu:
    """A GPU with its memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True)
class Machine:
    """What a sweep on this machine can use; ``memory`` is in bytes."""

    cores: int
    memory: int
    gpus: Sequence[Gpu]

    def findings(self) -> Iterator[Finding]:
        """Yield a line for the processor and one for the GPUs."""
        yield Finding("machine", f"{counted(self.cores, 'core')}, {self.memory / GIB:.0f} GiB of memory")
        names = ", ".join(f"{gpu.name} ({gpu.memory / GIB:.0f} GiB)" for gpu in self.gpus)
        yield Finding("gpu", names or "none")


def this_machine() -> Machine:
    """Return the cores that this process may use, the memory, and the GPUs of the NVIDIA driver."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(_cores(), min([memory, *_limits()]), list(_gpus()))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _limits() -> Iterator[int]:
    """Yield the memory that this container may use, if it is limited."""
    for name in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            yield int(Path(name).read_text())


def _gpus() -> Iterator[Gpu]:
    if shutil.which(QUERY[0]) is None:
        return
    try:
        ended = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=QUERY_SECONDS)
    except subprocess.TimeoutExpired:  # a driver that hangs
        return
    for line in ended.stdout.splitlines() if ended.returncode == 0 else ():
        name, _, mebibytes = line.rpartition(",")
        if mebibytes.strip().isdigit():
            yield Gpu(name.strip(), int(mebibytes) * 2**20)
