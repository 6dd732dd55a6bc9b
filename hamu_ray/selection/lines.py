"""The lines between models of a front, and to the original, that cross bounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hamu_ray.config.sources.files import check_run_document
from hamu_ray.results.trial import TrialRecord
from hamu_ray.selection.rules import Bound, shortfalls
from hamu_ray.storage import StoragePath, storage_path

PROBLEM = ("data", "forget", "model", "training", "original", "reference")
"""Sections of a configuration that two models on one line share."""
FIRST = "original"
"""Name of the original model as an end."""


@dataclass(frozen=True)
class Pair:
    """Two models, the ends of a line. Each bound that one of them misses is met by the other."""

    first: TrialRecord | None
    """None: the original."""
    second: TrialRecord
    missed: tuple[frozenset[int], frozenset[int]]
    """Which bounds each of them misses, by their places."""

    @property
    def meets(self) -> float | None:
        """The end that meets all bounds, 0 the first or 1 the second; None if both miss some."""
        return next((float(end) for end, missed in enumerate(self.missed) if not missed), None)

    @property
    def ends_that_miss(self) -> list[float]:
        """The ends that miss some of the bounds."""
        return [float(end) for end, missed in enumerate(self.missed) if missed]

    @property
    def names(self) -> tuple[str, str]:
        """The names of both models."""
        return (self.first.trial_id if self.first else FIRST), self.second.trial_id

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """The trials whose models are ends."""
        return (self.second,) if self.first is None else (self.first, self.second)

    @property
    def words(self) -> str:
        """The names of both models in a sentence."""
        return (
            f"the original to trial {self.names[1]}"
            if self.first is None
            else "trial {} to trial {}".format(*self.names)
        )


def pairs(front: Sequence[TrialRecord], bounds: Sequence[Bound]) -> Iterator[Pair]:
    """Yield the lines on which all bounds can be met: from the original to each point, and between neighbours.

    A bound that both ends miss is assumed to be missed between them, too.
    """

    def missed(measures: Mapping[str, float]) -> frozenset[int]:
        return frozenset(i for i, missing in enumerate(shortfalls(measures, bounds)) if missing > 0)

    def crosses(one: frozenset[int], other: frozenset[int]) -> bool:
        return bool(one | other) and not one & other

    for trial in front:
        ends = missed(trial.original), missed(trial.measures)
        if crosses(*ends):
            yield Pair(None, trial, ends)
    for first, second in pairwise(front):
        ends = missed(first.measures), missed(second.measures)
        if crosses(*ends) and problem_of(first) == problem_of(second):
            yield Pair(first, second, ends)


def problem_of(trial: TrialRecord) -> dict[str, Any]:
    """Return what two models on one line share: data, forget set, architecture and base models."""
    run = check_run_document(trial.configuration, f"trial {trial.trial_id}")
    return {**run.model_dump(mode="json", include=set(PROBLEM)), "seed": run.training_seed}


def folder_of(trial: TrialRecord) -> StoragePath:
    """Return the folder of a trial's run."""
    return storage_path(trial.model_path).parent
