"""Time of a step over its two gradients, by batch, precision and compilation, against the device's two ceilings."""

import json
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch.autograd import DeviceType

from hamu_ray.footprint.compute.costs import Work, work_of
from scripts.gpu.images import RandomImages
from scripts.gpu.machine import Machine, last_line, run_module, tf32
from scripts.gpu.plans import gradients_of, plan_of, stepper_of
from scripts.gpu.record import Number, Record, judged, measured, not_run

BATCHES = {"cuda": (50, 500, 5000), "cpu": (50, 500)}
PRECISIONS = ("float32", "tf32", "bfloat16")

COUNTED = 16
"""Images of the batch whose costs are counted: per image they are those of any batch."""

COMPILED = {("float32", 5000), ("bfloat16", 50), ("bfloat16", 5000)}
"""Precisions and batches that are compiled as well, which takes most of a minute each."""
COMPILE_SECONDS = 90
"""Time that has to be left for it."""
COMPILED_ERROR = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}
"""Largest relative difference of a compiled step's update from the eager one's."""


def check(machine: Machine) -> Iterator[Record]:
    yield measured(
        "ceilings",
        **{
            "GB/s": machine.bandwidth / 1e9,
            "TFLOP/s float32": machine.flops("float32") / 1e12,
            "TFLOP/s bfloat16": machine.flops("bfloat16") / 1e12,
        },
    )
    for precision in PRECISIONS:
        if precision == "tf32" and not machine.cuda:
            yield not_run("tf32", "a CPU has no TF32")
            continue
        for batch in BATCHES[machine.device.type]:
            title = f"2 x {batch} images, {precision}"
            if precision == "bfloat16" and machine.precision != precision:
                yield not_run(title, "this device only emulates bfloat16")
                continue
            with tf32(precision == "tf32"):
                yield from _measured(title, batch, precision, machine)
    yield from _graph(machine)


def _measured(title: str, batch: int, precision: str, machine: Machine) -> Iterator[Record]:
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    images = RandomImages(4 * batch, machine.device, precision=dtype)
    batches = [images.splits[role][:batch] for role in ("retain", "forget")]
    model, rounds = images.build_model(0), machine.sized(cuda=5, cpu=3)
    stepper = stepper_of(images, images.build_model(0), plan_of(images, batch=batch))
    calls = (lambda: gradients_of(images, model, batches)), (lambda: stepper(1))
    gradients, step = machine.alternating(*calls, rounds=rounds)
    machine.found[f"step {batch} {dtype}"] = step
    machine.found[f"gradients {batch} {dtype}"] = gradients
    costs = work_of(lambda: gradients_of(images, model, [part[:COUNTED] for part in batches]))
    numbers = {
        "ms": 1e3 * step,
        "over gradients": step / gradients,
        "images/s": 2 * batch / step,
        **shares(costs, batch / min(COUNTED, batch), gradients, precision, machine),
    }
    if machine.cuda:
        numbers |= profiled(lambda: stepper(1), machine)
    yield measured(title, **numbers)
    if not machine.cuda:
        if batch == BATCHES["cpu"][0]:
            yield not_run(f"{title}, compiled", "compiling takes minutes on a CPU")
        return
    if (precision, batch) not in COMPILED:
        return
    if machine.remaining < COMPILE_SECONDS:
        yield not_run(f"{title}, compiled", f"less than {COMPILE_SECONDS} s left")
        return
    yield compiled(f"{title}, compiled", images, batch, precision, step, machine)


def shares(
    costs: Work, times: float, seconds: float, precision: str, machine: Machine
) -> Mapping[str, Number]:
    """Return the bandwidth and operations that a time comes to, as shares of what the device reaches."""
    bandwidth, flops = times * costs.bytes / seconds, times * costs.flops / seconds
    return {
        "operators": costs.operators,
        "share of bandwidth": bandwidth / machine.bandwidth,
        "share of FLOP/s": flops / machine.flops(precision),
    }


def profiled(call: Callable[[], object], machine: Machine) -> Mapping[str, Number]:
    """Return a call's launches on a GPU, and the share of its time in which the GPU has nothing to do."""
    times = 5
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(times):
            call()
        machine.wait()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    )
    if not spans:
        return {"launches": "the profiler saw none"}
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return {"launches": len(spans) // times, "device idle": 1 - busy / (until - spans[0][0])}


def compiled(
    title: str, images: RandomImages, batch: int, precision: str, eager: float, machine: Machine
) -> Record:
    """Return the record of a step whose forward and backward pass are compiled."""
    plan = plan_of(images, "gdiff", batch=batch)  # whose weights do not enlarge what rounding changes
    steppers = [stepper_of(images, images.build_model(0), plan) for _ in range(2)]
    steppers[1].model.compile(dynamic=False)
    began = time.perf_counter()
    for stepper in steppers:
        stepper(1)  # no step that compares its promise, which would compile a forward pass without gradients
    machine.wait()
    spent = time.perf_counter() - began
    eager_update, update = (stepper.segment.grad for stepper in steppers)
    error = float((update - eager_update).norm() / eager_update.norm())
    seconds = machine.seconds(lambda: steppers[1](1), rounds=3)
    machine.found[f"compiled {batch}"] = seconds
    numbers = {
        "ms": 1e3 * seconds,
        "of eager": seconds / eager,
        "seconds to compile": spent,
        "update off by": error,
        **profiled(lambda: steppers[1](1), machine),
    }
    return judged(title, error <= COMPILED_ERROR[precision], "another update than eager", **numbers)


def _graph(machine: Machine) -> Iterator[Record]:
    """Try to capture CUDA graphs in another process, which a broken capture may leave unusable."""
    if not machine.cuda:
        yield not_run("CUDA graph", "a CPU has none")
        return
    for what in ("gradients", "step"):
        child = run_module("scripts.gpu.capture", what, timeout=120)
        if child.returncode:
            yield not_run(f"CUDA graph of the {what}", f"the capture broke: {last_line(child.stderr)}")
        else:
            yield measured(f"CUDA graph of the {what}", **json.loads(child.stdout.splitlines()[-1]))
