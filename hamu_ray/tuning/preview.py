"""The dry run: what a sweep would run, before anything expensive starts."""

from collections.abc import Mapping, Sequence

import yaml

from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import SWEEPS
from hamu_ray.storage import local_folder
from hamu_ray.terminal.console import Console
from hamu_ray.tuning.plan import plan_sweep


def _among(values: Sequence[Scalar]) -> str:
    return " or ".join(str(value) for value in values)


def preview(
    config: SweepConfig, console: Console | None = None, fixed: Mapping[str, str] | None = None
) -> None:
    """Print what a sweep would run: how many trials, on what, and the first configuration in full.

    ``fixed`` are keys that the file varies and the command fixed, with the text of its `--set`.
    """
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
    for path, domains in config.space.items():
        for domain in domains:
            conditions = [f"{key} {_among(values)}" for key, values in domain.conditions.items()]
            where = f" when {' and '.join(conditions)}" if conditions else ""
            console.print(f"  {path}: {domain.kind} {domain.document[domain.kind]}{where}", markup=False)
    for key, text in (fixed or {}).items():
        set_itself = text.partition("=")[0].strip() == key
        console.print(
            f"  {key}: {'fixed' if set_itself else 'no longer varied'} by --set {text}", markup=False
        )
    console.print("first configuration")
    run = config.resolve(config.example(plan.cells[0])).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)
