"""What can be known of a sweep before anything expensive starts."""

from itertools import islice

import yaml
from rich.console import Console

from hamu_ray.config.files import ConfigError
from hamu_ray.config.sweep import METHOD_NAME, Scalar, SweepConfig
from hamu_ray.preflight import check_objectives, check_run


def trials_of(config: SweepConfig) -> int:
    """Return the number of trials: cells of the grids, times samples of each."""
    return len(list(config.cells())) * config.search.samples


def first_parameters(config: SweepConfig) -> dict[str, Scalar]:
    """Return the first cell of the grids, with the first value of every other dimension that applies to it."""
    cell = next(config.cells())
    method = str(cell.get(METHOD_NAME, config.method.name))
    others = {
        path: domain.examples[0]
        for path, domain in config.space.items()
        if path not in cell and config.applies(path, method)
    }
    return {**cell, **others}


MAX_SPLITS = 20
"""Different data and forget sets of a sweep that are checked before it starts; the rest when their trials do."""

FIXED = ("name", "data.name", "storage.", "tracking.")
"""What cannot vary within a sweep: where its results go, and what kind of data they are of."""


def check(config: SweepConfig, source: str) -> None:
    """Check what the schema cannot know: objectives, data, storage, tracking; raises `ConfigError`."""
    for path in config.space:
        if path.startswith(FIXED[2:]) or path in FIXED:
            raise ConfigError(
                f"{source}: space.{path}: cannot vary within a sweep; make a sweep for each value"
            )
    metrics = [objective.metric for objective in config.search.objectives]
    check_objectives(metrics, config.data.task, source)
    splits = {split_key(cell): cell for cell in config.cells()}
    for cell in islice(splits.values(), MAX_SPLITS):
        check_run(config.resolve({**first_parameters(config), **cell}), source)


def split_key(cell: dict[str, Scalar]) -> str:
    """Return what two cells with the same data and forget set have in common."""
    return str({path: value for path, value in cell.items() if path.startswith(("data.", "forget."))})


def preview(config: SweepConfig, console: Console | None = None) -> None:
    """Print what a sweep would run: how many trials, on what, and the first configuration in full."""
    console = console or Console(highlight=False)
    workers = config.workers
    gpus = f" and {workers.gpus:g} GPU" if workers.gpus else ""
    console.print(f"sweep      {config.name}")
    console.print(
        f"trials     {trials_of(config)} ({len(list(config.cells()))} cells of the grids x "
        f"{config.search.samples} samples, {config.search.algorithm})"
    )
    console.print(f"objectives {', '.join(f'{o.mode} {o.metric}' for o in config.search.objectives)}")
    console.print(f"workers    {workers.count} a trial, {workers.cpus:g} CPU{gpus} each")
    console.print("space")
    for path, domain in config.space.items():
        kind, values = next(iter(domain.model_dump(exclude_none=True, by_alias=True).items()))
        console.print(f"  {path}: {kind} {list(values)}")
    console.print("first configuration")
    run = config.resolve(first_parameters(config)).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)
