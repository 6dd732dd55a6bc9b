"""The outcome of a confirmation: a selected trial, repeated with seeds that its sweep did not use.

The best of many trials is partly lucky, so its own metrics are biased upwards; new seeds are not.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.pareto.front import Interval
from hamu_ray.results.wording import number
from hamu_ray.selection.rules import LARGEST_SEED, Bound, fresh_seeds, verdict
from hamu_ray.terminal.console import Console


@dataclass(frozen=True)
class Confirmation:
    """The results of a selected trial with new seeds."""

    sweep: str
    """Folder of the sweep that ran them."""
    seeds: Sequence[int]
    finished: int
    objectives: Sequence[Objective]
    selected: Sequence[float]
    """The objectives of the selected trial."""
    intervals: Sequence[Interval]
    """The objectives over the finished runs."""
    bounds: Sequence[Bound]
    bounded: Sequence[Interval]
    """The metrics of the bounds over the finished runs."""

    @property
    def verdicts(self) -> dict[str, str]:
        """Whether each bound holds, by the bound's text."""
        pairs = zip(self.bounds, self.bounded, strict=True)
        return {str(bound): verdict(bound, interval) for bound, interval in pairs}

    @property
    def holds(self) -> bool:
        """Whether every run finished and every bound holds at least on average."""
        return self.finished == len(self.seeds) and "does not hold" not in self.verdicts.values()

    def print(self, console: Console) -> None:
        """Print the objectives next to those of the selected trial, and whether the bounds hold."""
        rows = [
            (
                objective.metric,
                number(value),
                number(interval.mean),
                _bounds(interval),
            )
            for objective, value, interval in zip(self.objectives, self.selected, self.intervals, strict=True)
        ]
        console.columns(("confirmed", "selected", "mean of new seeds", "95 % interval"), rows)
        seeds = f"{', '.join(map(str, self.seeds))}: {self.finished} of {len(self.seeds)} finished"
        console.fields({"seeds": seeds})
        for bound, words in self.verdicts.items():
            console.fields({"bound": f"{bound} {words}"})

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
    """Return the seeds for the confirmation; empty if it is disabled.

    Raises:
        ConfigError: They are not valid seeds, or the sweep used one of them.
    """
    if number_of is not None:
        if number_of < 1:
            raise ConfigError(f"--confirm {number_of}: give the number of new seeds, 1 or more")
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
            f"--seeds {given}: the sweep has already used {known[0]}; use another, such as {fresh_seeds(used, 1)[0]}"
        )
    return seeds


def _bounds(interval: Interval) -> str:
    return f"[{number(interval.low)}, {number(interval.high)}]"
