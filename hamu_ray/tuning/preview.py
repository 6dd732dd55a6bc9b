"""The dry run: the plan of a sweep, before anything expensive starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import yaml

from hamu_ray.config.constraint import aims_of, constraints_of
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import load_sweep, with_shards
from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.footprint.cases import Case, cases_of
from hamu_ray.footprint.compute.statement import state_sweep
from hamu_ray.footprint.named_parts import check_named_parts, named_part_variants
from hamu_ray.footprint.shards import fewest_shards
from hamu_ray.footprint.statement import state_memory
from hamu_ray.footprint.trace import Tracers
from hamu_ray.preflight import CHECKED_COMBINATIONS
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.earlier import SECTIONS, first_steps
from hamu_ray.results.folder import SWEEPS
from hamu_ray.results.wording import counted, percent
from hamu_ray.storage import local_folder, storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.workers.cluster import cluster_address


def _among(values: Sequence[Scalar]) -> str:
    return " or ".join(str(value) for value in values)


def preview(
    config: SweepConfig,
    console: Console | None = None,
    fixed: Mapping[str, str] | None = None,
    costs: Iterable[Finding] = (),
) -> None:
    """Print the plan of a sweep: the number of trials, their resources, and the first configuration in full.

    ``fixed`` are keys that the file varies and the command line fixes, with the text of its `--set`;
    ``costs`` are lines on what the runs need.
    """
    console = console or Console()
    plan = plan_sweep(config, local_folder(config.storage) / SWEEPS / config.name)
    workers = config.workers
    gpus = f" and {workers.gpus:g} GPU" if workers.gpus else ""
    shards = f"; a model is held in {workers.shards} shards" if workers.shards > 1 else ""
    budget = config.search.budget
    most = "at most " if budget is not None and budget.seconds is not None else ""
    repeats = f" x {plan.repeats} searches" if plan.repeats > 1 else ""
    console.print(f"sweep      {config.name}")
    console.print(
        f"trials     {plan.trials} ({len(plan.grid)} cells of the grids x "
        f"{most}{_among(list(dict.fromkeys(plan.samples)))} samples{repeats}, {plan.choice.algorithm})"
    )
    if plan.choice.reason:
        console.print(f"search     {plan.choice.algorithm}: {plan.choice.reason}", markup=False)
    if plan.warm_start:
        console.print(f"warm start {plan.warm_start}", markup=False)
    console.print(f"objectives {', '.join(f'{o.mode} {o.metric}' for o in plan.objectives)}")
    fewer = f" (at least {workers.min_count})" if workers.min_count else ""
    console.print(f"workers    {workers.count} a trial{fewer}, {workers.cpus:g} CPU{gpus} each{shards}")
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
    for line in _fractions(config):
        console.print(line, markup=False)
    for cost in costs:
        console.print(f"{cost.subject:<10} {cost.text}", markup=False, soft_wrap=not console.is_terminal)
    console.print("first configuration")
    run = config.resolve(config.example(plan.grid[0])).model_dump(mode="json")
    for line in yaml.safe_dump(run, sort_keys=False).splitlines():
        console.print(f"  {line}", markup=False)


def costs_of(
    config: SweepConfig, source: str, known: Sequence[Case], device: str | None
) -> Iterator[Finding]:
    """Yield lines on the memory of a sweep's workers, of the run that needs the most, and on its work and time.

    ``known`` are runs with each of the sweep's forget sets.

    Raises:
        ConfigError: It cannot fit their device, or a model lacks a layer that a run names; one line with the key.
    """
    check_named_parts(named_part_variants(config), source)
    at_once = config.search.concurrent
    elsewhere = cluster_address() is not None
    tracers = Tracers()
    yield from state_memory(
        cases_of(config, known),
        source=source,
        device=device,
        concurrent=at_once,
        elsewhere=elsewhere,
        tracers=tracers,
    )
    yield from state_sweep(config, known, device, tracers)


def with_fewest_shards(
    source: str, overrides: Sequence[str], known: Sequence[Case], device: str | None
) -> tuple[SweepConfig, Finding]:
    """Return a sweep with as few shards as fit, and the reason; for the arguments see `costs_of`.

    Raises:
        ConfigError: No number of shards is enough, or what a worker needs or has is not known; in one line.
    """

    def sweep_with(shards: int) -> SweepConfig:
        found = load_sweep(source, with_shards(overrides, shards))
        try:
            trials_of(found)
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from error
        return found

    sweep = sweep_with(1)
    shards, reason = fewest_shards(
        lambda number: cases_of(sweep_with(number), known),
        sweep.workers.count,
        source=source,
        device=device,
        concurrent=sweep.search.concurrent,
        elsewhere=cluster_address() is not None,
    )
    return sweep_with(shards), reason


def _fractions(config: SweepConfig) -> Iterator[str]:
    """Yield a comparison of each HAMU variant's constraint fraction with the free fraction of a first step."""
    problems = list(
        islice(config.variants(tuple(f"{section}." for section in SECTIONS)), CHECKED_COMBINATIONS)
    )
    for name in config.methods:
        aims, asked = aims_of(name), constraints_of(config, name).get("constraint_fraction")
        if aims is None or asked is None:
            continue
        gain, cost = aims
        line = f"{name:<10} requires {_between(asked)} of the {gain} available in a step; "
        found = first_steps(storage_path(config.storage.path), name, problems)
        if not found.free:
            yield f"{line}the first trials will show how much of it costs nothing in {cost}"
            continue
        yield (
            f"{line}{_between(found.free)} cost nothing in {cost} in the first step of "
            f"{counted(len(found.free), 'earlier trial')} (sine of the gradients' angle: {_between(found.sines)})"
        )


def _between(values: Sequence[float]) -> str:
    """Return the range of fractions in percent."""
    low, high = percent(min(values)), percent(max(values))
    return low if low == high else f"{low} to {high}"
