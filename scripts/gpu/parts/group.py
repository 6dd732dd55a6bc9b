"""One process against two: the same losses and weights, and what their exchange sends, over NCCL or gloo.

As a module it runs the two: ``python -m scripts.gpu.parts.group FOLDER DEVICE BACKEND PARAMETERS``. They find each
other through a store of their parent on the loopback interface, since a machine's host name need not resolve.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor

from hamu_ray.pairing.exchange import make_exchange
from hamu_ray.pairing.group import Alone, Distributed, Group
from hamu_ray.pairing.roles import Role, assign
from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine, last_line, run_module
from scripts.gpu.plans import Optimizer, plan_of, stepper_of
from scripts.gpu.record import Record, judged, measured, not_run

METHODS = ("hamu-u", "npo")
STEPS = 4
TOLERANCE = 1e-5
"""Largest difference of a loss or a weight."""

BOTH = (Role.RETAIN, Role.FORGET)
LOOPBACK = "127.0.0.1"

TIMEOUT = 180
"""Seconds that two processes get."""


def results(method: str, device: torch.device, group: Group) -> dict[str, Tensor]:
    """Return the weights after some steps of a method, and the losses of each step, on the CPU."""
    images = RandomImages(128, device)
    model = images.build_model(0)
    optimizer = Optimizer("sgd", learning_rate=0.05, momentum=0.9)
    stepper = stepper_of(images, model, plan_of(images, method, batch=48, optimizer=optimizer), group)
    losses = []
    for step in range(STEPS):
        diagnostics, _ = stepper(step)
        losses.append(torch.stack([diagnostics[f"step_{role}_loss"] for role in BOTH]))
    weights = stepper.flat.values[: stepper.flat.count]
    return {"weights": weights.cpu().clone(), "losses": torch.stack(losses).double().cpu()}


def exchanged(device: torch.device, group: Group, parameters: int) -> dict[str, float]:
    """Return the bytes that a worker sends in a step's exchange, and the median seconds that it takes."""
    (role,) = assign(group.rank, group.size, BOTH).roles
    exchange = make_exchange(group, BOTH, parameters)
    gradient = torch.randn(parameters + 1, device=device)
    gram, values = (
        torch.ones(1, 2, 2, dtype=torch.float64, device=device),
        torch.zeros(parameters, device=device),
    )
    seconds = []
    for step in range(6):
        if step == 1:  # the first one connects
            group.traffic.bytes = 0
        dist.barrier()
        began = time.perf_counter()
        met = exchange.meet({role: gradient})
        exchange.total(gram, met.losses)
        exchange.publish(values)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return {"bytes": group.traffic.bytes / 5, "seconds": median(seconds[1:])}


def check(machine: Machine) -> Iterator[Record]:
    two_gpus = machine.cuda and torch.cuda.device_count() >= 2
    for backend in ("nccl", "gloo"):
        if backend == "nccl" and not two_gpus:
            yield not_run("nccl, two processes", "needs two GPUs")
            continue
        yield from _against_one(backend, machine)


def _against_one(backend: str, machine: Machine) -> Iterator[Record]:
    title, folder = f"{backend}, two processes", machine.folder / backend
    folder.mkdir()
    parameters = machine.sized(cuda=20_000_000, cpu=2_000_000)
    two = run_module(
        "scripts.gpu.parts.group",
        *(str(folder), machine.device.type, backend, str(parameters)),
        timeout=TIMEOUT,
        OMP_NUM_THREADS="1",
    )
    if two.returncode:
        yield judged(title, False, f"exit code {two.returncode}: {last_line(two.stderr)}")
        return
    for method in METHODS:
        alone = results(method, machine.device, Alone())
        together = load_file(folder / f"{method}.safetensors")
        errors = {name: float((alone[name] - together[name]).abs().max()) for name in alone}
        good = all(error <= TOLERANCE for error in errors.values())
        why = f"further than {TOLERANCE:g} from one process"
        numbers = {f"difference of {name}": error for name, error in errors.items()}
        yield judged(f"{title}, {method}", good, why, **numbers)
    found = json.loads((folder / "exchange.json").read_text())
    expected = 4 * (parameters + 1)  # a gradient and its loss in float32, to the one other worker
    numbers = {
        "parameters": parameters,
        "MB sent": found["bytes"] / 1e6,
        "ms": 1e3 * found["seconds"],
        "GB/s": found["bytes"] / found["seconds"] / 1e9,
    }
    if found["bytes"] != expected:
        yield judged(
            f"{title}, exchange", False, f"sent {found['bytes']:.0f} bytes, not {expected}", **numbers
        )
        return
    yield measured(f"{title}, exchange", **numbers)


def work(rank: int, port: int, folder: Path, kind: str, backend: str, parameters: int) -> None:
    """Be one of the two processes, which meet at the store of a port."""
    device = torch.device(kind, (rank if backend == "nccl" else 0)) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    store = dist.TCPStore(LOOPBACK, port, is_master=False)
    dist.init_process_group(backend, store=store, rank=rank, world_size=2)
    group = Distributed()
    for method in METHODS:
        found = results(method, device, group)
        if rank == 0:
            save_file(found, folder / f"{method}.safetensors")
    found = exchanged(device, group, parameters)
    if rank == 0:
        (folder / "exchange.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


if __name__ == "__main__":
    store = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    arguments = store.port, Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    torch.multiprocessing.spawn(work, arguments, nprocs=2)
