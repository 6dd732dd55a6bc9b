"""What a search space costs: trials, gradients, memory, disk and, on a CPU, the shortest time."""

import time
from collections.abc import Iterator

import numpy as np

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.footprint.cases import cases_of
from hamu_ray.footprint.machine import GIB, Machine
from hamu_ray.footprint.statement import state_memory
from hamu_ray.inspection.model import Model
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.wording import duration
from hamu_ray.tasks.forecast import Forecast

OPERATIONS = 6
"""Floating-point operations per parameter and token of a gradient (Kaplan et al. 2020, arXiv 2001.08361)."""

SIZE = 1024
"""Rows of the matrices that the processor's speed is measured with."""


def costs(config: SweepConfig, model: Model, machine: Machine, forecast: Forecast) -> Iterator[Finding]:
    """Yield a line for each kind of cost; sizes of models whose parameters are unknown are left out."""
    trials, steps = trials_of(config), config.duration.steps or 0
    batch = config.batch.retain + config.batch.forget
    text = f"{trials} trials of at most {steps} steps, each with the gradient of {batch} {forecast.unit}"
    yield Finding("cost", text)
    trained = [name for name in ("original", "reference") if getattr(config, name).source == "train"]
    if trained:
        yield Finding(
            "cost", f"before them {' and '.join(trained)}: {config.training.epochs} epochs of training each"
        )
    yield from memory(config, machine, forecast)
    if model.parameters is None:
        return
    if getattr(config.model, "lora", None) is None:
        whole = 4 * model.parameters
        yield Finding("disk", f"{_size(whole)} for the model of each trial, {_size(whole * trials)} in all")
    tokens = tokens_of(config, model, forecast)
    if tokens is None:
        return
    operations = OPERATIONS * model.parameters * tokens * steps * trials
    limit = ""
    if not machine.gpus:
        seconds = operations / matrix_speed()
        limit = f", at least {duration(seconds)} at the speed of matrix products here"
    yield Finding("time", f"{operations:.1e} operations for the gradients{limit}")


def memory(config: SweepConfig, machine: Machine, forecast: Forecast) -> Iterator[Finding]:
    """Yield the memory of a worker by part, in each phase of the runs, and whether it fits this machine."""
    at_once = config.search.concurrent
    try:
        yield from state_memory(cases_of(config, [(config, forecast)]), concurrent=at_once, machine=machine)
    except ConfigError as error:
        yield Finding("memory", str(error), True)


def tokens_of(config: SweepConfig, model: Model, forecast: Forecast) -> float | None:
    """Return the tokens, or patches of images, of a step's two batches; None for models without them."""
    if model.task == "language":
        counts = [(forecast.splits[name], getattr(config.batch, name)) for name in ("retain", "forget")]
        return sum(batch * (side.tokens or 0) / side.examples for side, batch in counts)
    patch = None if model.embedded else model.checkpoint.config.get("patch_size")
    if not isinstance(patch, int) or model.image_size is None:
        return None
    return (config.batch.retain + config.batch.forget) * (model.image_size / patch) ** 2


def matrix_speed() -> float:
    """Return how many floating-point operations per second a product of matrices reaches."""
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE), dtype=np.float32)
    _ = matrix @ matrix  # starts the threads
    began = time.perf_counter()
    _ = matrix @ matrix
    return 2 * SIZE**3 / (time.perf_counter() - began)


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"
