"""What can be known of a sweep before anything expensive starts."""

import yaml
from rich.console import Console

from hamu_ray.config.sweep import SweepConfig, trials_of


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
    run = config.resolve(config.example(next(config.cells()))).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)
