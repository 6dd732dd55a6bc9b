"""`workers.shards: auto`: as few shards as fit the device of a worker; and what a command without shards can do."""

from collections.abc import Callable, Iterable

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import SHARDS
from hamu_ray.footprint.cases import Case
from hamu_ray.footprint.machine import Machine, this_machine
from hamu_ray.footprint.statement import TRAINING, Devices, Unknown, Worst, room_of, size, verdict
from hamu_ray.results.diagnosis.finding import Finding


def fewest_shards(
    cases_with: Callable[[int], Iterable[Case]],
    workers: int,
    *,
    source: str,
    device: str | None = None,
    concurrent: int | None = 1,
    machine: Machine | None = None,
    elsewhere: bool = False,
) -> tuple[int, Finding]:
    """Return the smallest number of shards with which all runs fit their device, and a line with the reason.

    ``cases_with`` returns the runs with a number of shards, and raises `ConfigError` if that does not suit them;
    ``workers`` is the number of workers of a run. For the rest see `hamu_ray.footprint.statement.state_memory`.

    Raises:
        ConfigError: None of the numbers is enough, or the device or the memory is not known; in one line.
    """
    devices = Devices(None if elsewhere else machine or this_machine(), device, concurrent)
    before: tuple[int, Worst] | None = None
    for shards in (number for number in range(1, workers + 1) if workers % number == 0):
        try:
            cases = list(cases_with(shards))
        except ConfigError:
            continue
        worst = _worst(devices, cases, source)
        if worst.estimator.fits(worst.footprint):
            return shards, Finding("shards", f"{shards} (auto): {_reason(before, worst)}")
        before = shards, worst
    assert before is not None, "one shard suits every run"
    list(verdict(before[1], source))
    raise AssertionError("it does not fit")


def whole_models(case: Case, source: str, machine: Machine | None = None) -> Finding:
    """Return a line that says that one process of a machine, by default this one, trains the base models whole.

    Raises:
        ConfigError: One does not fit its device; in one line.
    """
    run, forecast = case
    cases = [(run.model_copy(update={"workers": run.workers.alone()}), forecast)]
    why = "this command trains base models whole, in one process"
    try:
        worst = Devices(machine or this_machine(), None, 1).worst(cases).get(TRAINING)
    except Unknown as error:
        return Finding("shards", f"1: {why}; the memory that it needs is not known: {error}")
    device = None if worst is None else worst.estimator.device
    if worst is None or device is None or worst.estimator.fits(worst.footprint):
        return Finding("shards", f"1: {why}")
    raise ConfigError(
        f"{source}: {SHARDS}: {why}, which needs {size(worst.footprint.total)} of memory, more than {room_of(device)}; "
        "python -m hamu_ray.tune and python -m hamu_ray.unlearn train them in shards"
    )


def _worst(devices: Devices, cases: Iterable[Case], source: str) -> Worst:
    try:
        worst = max(devices.worst(cases).values(), key=lambda each: each.load)
    except Unknown as error:
        raise ConfigError(
            f"{source}: {SHARDS}: auto needs the memory of a run, which is not known: {error}; set a number"
        ) from error
    if worst.estimator.device is None:
        raise ConfigError(
            f"{source}: {SHARDS}: auto needs the memory of the workers' device, of which nothing is known; set "
            "a number, or workers.accelerator, such as H100, for GPUs"
        )
    return worst


def _reason(before: tuple[int, Worst] | None, worst: Worst) -> str:
    """Return why there are this many."""
    assert worst.estimator.device is not None, "its memory is known"
    room = room_of(worst.estimator.device)
    if before is None:
        return f"a whole model fits in {room}"
    shards, over = before
    return f"with {shards}, {over.footprint.phase} needs {size(over.footprint.total)}, more than {room}"
