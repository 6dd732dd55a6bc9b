"""The rows of scripts/studies/benchmark, read for tables and pictures."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hamu_ray.reproduce.published import published
from hamu_ray.results.pareto.front import hypervolume

OBJECTIVES = ["forget_quality", "retain_utility"]
BASELINE = "gdiff"
COMPARED = (BASELINE, "hamu-u", "hamu-q")
REQUESTS = {"class": "a class", "half": "half a class", "random": "a random tenth", "none": "an author"}


class Data:
    """The rows of a study by what they are for."""

    def __init__(self, path: Path) -> None:
        """Read the table."""
        rows = pd.read_csv(path, dtype={"parameters": str, "method": str})
        (self.objectives,) = {
            tuple(objective.metric for objective in config.search.objectives)
            for config in published(str(path.with_suffix(".yaml"))).configs(seed=0).values()
        }
        self.search = complete(rows[rows["purpose"] == "search"])
        self.confirmed = rows[rows["purpose"] == "confirm"]
        self.bases = rows[rows["purpose"].isin(["original", "reference"])]
        self.spaces = list(dict.fromkeys(self.search["space"]))
        self.methods = list(dict.fromkeys(self.search["method"]))
        self.volumes = volumes(self.search, self.objectives)
        self.means = self.volumes.groupby(["method", "space"])["volume"].mean().groupby("method").mean()
        """Of each method, over requests, whose searches may differ in number."""
        self.ranked = sorted(self.methods, key=lambda method: -self.means[method])

    @property
    def judged(self) -> list[str]:
        """What confirmed points are judged by: new seeds, and test images that no search has seen, if there are any."""
        has_test_images = self.objectives[1] == "retain_utility"
        return [self.objectives[0], "test_accuracy" if has_test_images else self.objectives[1]]

    def base(self, space: str, name: str = "original", training: int | None = None) -> pd.Series:
        """Return the row of an original model or reference, by default of the search."""
        found = self.bases[(self.bases["space"] == space) & (self.bases["purpose"] == name)]
        seeds = found["training_seed"]
        return found[seeds == (seeds.min() if training is None else training)].iloc[0]

    def nothing(self, space: str) -> float:
        """Return the hypervolume of the original model, untouched."""
        base = self.base(space)
        return float(base[self.objectives[0]] * base[self.objectives[1]])

    @property
    def finished(self) -> pd.DataFrame:
        """The finished trials of the search."""
        return self.search[self.search["status"] == "finished"]


def title(space: str) -> str:
    """Return a request in words."""
    return REQUESTS.get(space.rpartition("-")[2], space)


def area(rows: pd.DataFrame, of: Sequence[str]) -> pd.Series:
    """Return the hypervolume of single points: the product of both metrics."""
    return rows[of[0]] * rows[of[1]]


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of searches that have all of them: as many as the method's largest search of a space."""
    counts = trials.groupby(["space", "method", "search_seed"])["trial"].transform("size")
    return trials[counts == counts.groupby([trials["space"], trials["method"]]).transform("max")]


def volumes(trials: pd.DataFrame, objectives: Sequence[str] = OBJECTIVES) -> pd.DataFrame:
    """Return the hypervolume of each method's front down to (0, 0), by space and search seed."""
    found = []
    for (space, method, seed), group in trials.groupby(["space", "method", "search_seed"], sort=False):
        points = group.loc[group["status"] == "finished", list(objectives)].to_numpy()
        found.append((space, method, seed, hypervolume(points)))
    return pd.DataFrame(found, columns=["space", "method", "search_seed", "volume"])
