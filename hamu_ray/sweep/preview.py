"""What can be known of a sweep before anything expensive starts."""

from collections.abc import Sequence

import yaml
from rich.console import Console

from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig, trials_of


def _among(values: Sequence[Scalar]) -> str:
    return " or ".join(str(value) for value in values)


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
    for path, domains in config.space.items():
        for domain in domains:
            conditions = [f"{key} {_among(values)}" for key, values in domain.conditions.items()]
            where = f" when {' and '.join(conditions)}" if conditions else ""
            console.print(f"  {path}: {domain.kind} {domain.document[domain.kind]}{where}", markup=False)
    console.print("first configuration")
    run = config.resolve(config.example(next(config.cells()))).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)
