"""The dry run: what a sweep would run, before anything expensive starts."""

import yaml

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import SWEEPS
from hamu_ray.storage import local_folder
from hamu_ray.sweep.plan import plan_sweep
from hamu_ray.terminal.console import Console


def preview(config: SweepConfig, console: Console | None = None) -> None:
    """Print what a sweep would run: how many trials, on what, and the first configuration in full."""
    console = console or Console()
    plan = plan_sweep(config, local_folder(config.storage) / SWEEPS / config.name)
    workers = config.workers
    gpus = f" and {workers.gpus:g} GPU" if workers.gpus else ""
    console.print(f"sweep      {config.name}")
    console.print(
        f"trials     {plan.trials} ({len(plan.cells)} cells of the grids x "
        f"{config.search.samples} samples, {config.search.algorithm})"
    )
    console.print(f"objectives {', '.join(f'{o.mode} {o.metric}' for o in plan.objectives)}")
    console.print(f"workers    {workers.count} a trial, {workers.cpus:g} CPU{gpus} each")
    console.print("space")
    for path, domain in config.space.items():
        kind, values = next(iter(domain.model_dump(exclude_none=True, by_alias=True).items()))
        console.print(f"  {path}: {kind} {list(values)}")
    console.print("first configuration")
    run = config.resolve(config.example(plan.cells[0])).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)
