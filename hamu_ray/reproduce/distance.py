"""How far a study that was run again is from the published one, in units of the published intervals."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamu_ray.config.search import Objective, directions, worst_corner
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reproduce.columns import CONFIRM, KEY, SEARCH
from hamu_ray.reproduce.rows import Row
from hamu_ray.results.outcome import Status
from hamu_ray.results.pareto.front import Interval, hypervolume, mean_interval

VOLUME = "hypervolume"
JUDGED = ("forget_quality", "test_accuracy", "test_prob")
"""What trials with new seeds are judged by, where the task has it."""

SEEDS = ("search_seed", "trial", "training_seed", "seed")
"""Columns that tell the runs of a trial with new seeds apart."""

Values = dict[tuple[int, ...], float]
"""A number for each seed."""


@dataclass(frozen=True)
class Difference:
    """A number of a study, and what it is when the study is run again."""

    request: str
    method: str
    number: str
    """The hypervolume of a search, or a metric of the best trial with new seeds."""
    interval: Interval
    """Of the published values of all seeds; infinite or NaN with fewer than two."""
    published: float
    """Mean over the seeds that were run again."""
    again: float
    """Mean over the same seeds."""
    runs: int
    """The number of these seeds."""

    @property
    def distance(self) -> float:
        """The difference as a multiple of half the interval's length; 0 for equal numbers, NaN without an interval."""
        difference = self.again - self.published
        half = (self.interval.high - self.interval.low) / 2
        if difference == 0:
            return 0.0
        return math.copysign(math.inf, difference) if half == 0 else difference / half

    @property
    def document(self) -> dict[str, str | float | int | None]:
        """Plain data for JSON."""
        numbers = {
            "published": self.published,
            "low": self.interval.low,
            "high": self.interval.high,
            "again": self.again,
            "distance": self.distance,
        }
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {
            "request": self.request,
            "method": self.method,
            "number": self.number,
            "runs": self.runs,
            **finite,
        }


def differences(
    published: Sequence[Row], again: Sequence[Row], configs: Mapping[str, SweepConfig]
) -> list[Difference]:
    """Return every number for which both tables have the runs, in the order of the published table."""
    complete = Counter(_search(row) for row in published if row["purpose"] == SEARCH)
    then, now = (_numbers(rows, configs, complete) for rows in (published, again))
    found = []
    for name, values in then.items():
        common = [seed for seed in now.get(name, {}) if seed in values]
        if common:
            interval = mean_interval([*values.values()])
            before, after = (sum(of[seed] for seed in common) / len(common) for of in (values, now[name]))
            found.append(Difference(*name, interval, before, after, len(common)))
    return found


def identical(published: Sequence[Row], again: Sequence[Row]) -> tuple[int, int]:
    """Return how many runs came to the same in all written digits, and how many both tables have."""
    then = {_key(row): row for row in published if row["purpose"] in (SEARCH, CONFIRM)}
    common = [(then[_key(row)], row) for row in again if _key(row) in then]
    return sum(_without_time(one) == _without_time(other) for one, other in common), len(common)


def _numbers(
    rows: Sequence[Row], configs: Mapping[str, SweepConfig], complete: Mapping[tuple[str, ...], int]
) -> dict[tuple[str, str, str], Values]:
    """Return the values of each number by seed: of the search, if it has all trials, or of a confirmed trial."""
    found: dict[tuple[str, str, str], Values] = {}
    searches: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["purpose"] == SEARCH:
            searches.setdefault(_search(row), []).append(row)
    for search, trials in searches.items():
        space, method, seed = search
        if space in configs and len(trials) == complete[search]:
            volume = _volume(trials, configs[space].search.objectives)
            found.setdefault((space, method, VOLUME), {})[int(seed),] = volume
    for row in rows:
        seeds = tuple(int(row[key]) for key in SEEDS) if row["purpose"] == CONFIRM else ()
        for metric in JUDGED if seeds else ():
            if row[metric]:
                found.setdefault((row["space"], row["method"], metric), {})[seeds] = float(row[metric])
    return found


def _search(row: Row) -> tuple[str, ...]:
    return row["space"], row["method"], row["search_seed"]


def _volume(rows: Sequence[Row], objectives: Sequence[Objective]) -> float:
    finished = [row for row in rows if row["status"] == Status.FINISHED]
    points = [[float(row[objective.metric]) for objective in objectives] for row in finished]
    if not points:
        return 0.0
    return hypervolume(points, worst_corner(objectives), directions(objectives))


def _key(row: Row) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEY)


def _without_time(row: Row) -> dict[str, object]:
    return {**row, "seconds": "", "parameters": json.loads(row["parameters"])}
