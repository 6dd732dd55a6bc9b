"""A selected trial again, with seeds that its sweep never used: the best of many looks better than it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from hamu_ray.config.files import ConfigError
from hamu_ray.config.sweep import Objective, SweepConfig
from hamu_ray.preflight import check_sweep
from hamu_ray.results.folder import read_records
from hamu_ray.results.front import Interval, mean_interval
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import number
from hamu_ray.selection.rules import LARGEST_SEED, Bound, fresh_seeds, verdict
from hamu_ray.storage import local_folder

SUFFIX = "-confirm"
NAME_LENGTH = 100


@dataclass(frozen=True)
class Confirmation:
    """What came out with fresh seeds."""

    sweep: str
    """Folder of the sweep that ran them."""
    seeds: Sequence[int]
    finished: int
    objectives: Sequence[Objective]
    selected: Sequence[float]
    """The objectives of the trial that was selected."""
    intervals: Sequence[Interval]
    """The objectives over those that finished."""
    bounds: Sequence[Bound]

    @property
    def verdicts(self) -> dict[str, str]:
        """What became of each bound."""
        found = dict(zip((o.metric for o in self.objectives), self.intervals, strict=True))
        return {str(bound): verdict(bound, found[bound.objective.metric]) for bound in self.bounds}

    @property
    def holds(self) -> bool:
        """Whether every run finished and every bound holds at least on average."""
        return self.finished == len(self.seeds) and "does not hold" not in self.verdicts.values()

    def print(self, console: Console) -> None:
        """Print the objectives beside those of the selected trial, and what became of the bounds."""
        table = Table(box=None)
        for title in ("confirmed", "selected", "mean of fresh seeds", "95 % interval"):
            table.add_column(title, justify="left" if title == "confirmed" else "right")
        for objective, value, interval in zip(self.objectives, self.selected, self.intervals, strict=True):
            spread = f"[{number(interval.low)}, {number(interval.high)}]"
            table.add_row(objective.metric, number(value), number(interval.mean), spread)
        console.print(table, markup=False)
        console.print(
            f"seeds    {', '.join(map(str, self.seeds))}: {self.finished} of {len(self.seeds)} finished"
        )
        for bound, words in self.verdicts.items():
            console.print(f"bound    {bound} {words}")

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "sweep": self.sweep,
            "seeds": list(self.seeds),
            "finished": self.finished,
            "intervals": [interval._asdict() for interval in self.intervals],
            "bounds": self.verdicts,
            "holds": self.holds,
        }


def check_seeds(number_of: int | None, given: str | None, used: Collection[int]) -> list[int]:
    """Return the seeds to confirm with, none where nothing is to be confirmed.

    Raises:
        ConfigError: They are no seeds, or the sweep used one of them.
    """
    if number_of is not None:
        if number_of < 1:
            raise ConfigError(f"--confirm {number_of}: give the number of fresh seeds, 1 or more")
        return fresh_seeds(used, number_of)
    if given is None:
        return []
    try:
        seeds = [int(text) for text in given.split(",")]
    except ValueError:
        raise ConfigError(
            f"--seeds {given}: give whole numbers with commas between them, such as 44,45"
        ) from None
    if len(set(seeds)) < len(seeds) or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise ConfigError(f"--seeds {given}: give different numbers from 0 to {LARGEST_SEED}")
    known = sorted(set(seeds) & set(used))
    if known:
        raise ConfigError(
            f"--seeds {given}: the sweep has used {known[0]}; take one such as {fresh_seeds(used, 1)[0]}"
        )
    return seeds


def confirm_trial(
    config: SweepConfig, trial: TrialRecord, seeds: Sequence[int], bounds: Sequence[Bound]
) -> Confirmation:
    """Run a trial's configuration with each seed, as a sweep of its own beside the trial's."""
    from hamu_ray.results.folder import newest_folder
    from hamu_ray.sweep.run import run_sweep

    again = confirming_sweep(config, trial, seeds)
    check_sweep(again, again.name)
    run_sweep(again, resume=False)
    folder = newest_folder(again.name, local_folder(again.storage))
    assert folder is not None
    records = [record for record in read_records(folder) if record.status is Status.FINISHED]
    objectives = config.search.objectives
    return Confirmation(
        sweep=str(folder),
        seeds=seeds,
        finished=len(records),
        objectives=objectives,
        selected=[trial.measures[o.metric] for o in objectives],
        intervals=[mean_interval([record.measures[o.metric] for record in records]) for o in objectives],
        bounds=bounds,
    )


def confirming_sweep(config: SweepConfig, trial: TrialRecord, seeds: Sequence[int]) -> SweepConfig:
    """Return the sweep over fresh seeds of a trial's configuration, where and as its own sweep ran."""
    where = config.model_dump(mode="json", include={"storage", "tracking"})
    where["tracking"]["register_models"] = None  # the selected model is the one to keep
    objectives = [objective.model_dump() for objective in config.search.objectives]
    search = {"algorithm": "grid", "objectives": objectives, "retries": config.search.retries}
    return SweepConfig.model_validate(
        {
            **trial.configuration,
            **where,
            "name": config.name[: NAME_LENGTH - len(SUFFIX)] + SUFFIX,
            "space": {"seed": {"grid": list(seeds)}},
            "search": {**search, "concurrent": config.search.concurrent},
        }
    )
