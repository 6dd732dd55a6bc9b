"""Run the parts one after the other, whatever becomes of one, and write what they found."""

import argparse
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from scripts.gpu.machine import Machine
from scripts.gpu.record import Record, Status, not_run, shown, write

PARTS: Mapping[str, str] = {
    "golden": "steps of the original code, against the CPU's",
    "waits": "steps that never wait for the device",
    "resume": "kill and resume, bit by bit",
    "group": "one process against two",
    "memory": "peak memory against the formula",
    "speed": "time of a step, and of what it rests on",
    "language": "Llamas: steps, memory and generation",
    "evaluation": "measuring a model at CIFAR-10's size",
    "hours": "hours of the paper's experiments",
}
"""Modules of `scripts.gpu.parts` in their order, and what they show; `hours` needs what those before it measured."""

Check = Callable[[Machine], Iterator[Record]]


def recorded(part: str, check: Check, machine: Machine) -> Iterator[Record]:
    """Yield the records of a part; an error is one that failed, and ends this part alone."""
    began = time.perf_counter()
    if machine.remaining <= 0:
        yield replace(not_run(PARTS.get(part, part), "the time is up"), part=part)
        return
    try:
        for record in check(machine):
            yield replace(record, part=part, seconds=time.perf_counter() - began)
            began = time.perf_counter()
    except Exception as error:  # whatever it is, the other parts run
        traceback.print_exc()
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        yield Record("error", Status.FAILED, {}, why, part, time.perf_counter() - began)
    machine.release()


def run(machine: Machine, parts: Mapping[str, Check]) -> list[Record]:
    """Run parts and print their records as they come."""
    records = []
    for part, check in parts.items():
        for record in recorded(part, check, machine):
            numbers = ", ".join(f"{key} {shown(value)}" for key, value in record.numbers.items())
            print(f"{record.status:8} {part}: {record.name}  {numbers}  {record.why}".rstrip(), flush=True)
            records.append(record)
    return records


def main(description: str | None = None, argv: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing new is started")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as folder:
        ends = time.monotonic() + 60 * arguments.minutes
        machine = Machine(torch.device(arguments.device), Path(folder), ends)
        parts = {name: import_module(f"scripts.gpu.parts.{name}").check for name in arguments.parts}
        records = run(machine, parts)
    write(arguments.out, records, machine.description())
    failed = sum(record.status is Status.FAILED for record in records)
    print(f"{len(records)} records, {failed} failed: {arguments.out / 'gpu_check.md'}")
    return 1 if failed else 0
