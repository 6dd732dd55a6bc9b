"""The record of a trial of a sweep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from hamu_ray.metrics.table import COSTS
from hamu_ray.results.outcome import Status, StepPoint

__all__ = ["Status", "TrialRecord"]

BOOKKEEPING = frozenset({"name", "seed", "workers", "storage", "tracking", "checkpoint"})
"""Config sections that do not distinguish configurations."""


AT = "@"
"""In the name of a point, between its trial and its step."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as plain data. The driver writes it as JSON when the trial ends."""

    trial_id: str
    status: Status
    parameters: dict[str, Any]
    """Sampled values by key path, such as ``{"optimizer.learning_rate": 0.01}``."""
    configuration: dict[str, Any]
    """The whole resolved run, as `RunConfig.model_dump(mode="json")`."""
    measures: dict[str, float] = field(default_factory=dict)
    """Final metrics of the model, NaN where undefined."""
    original: dict[str, float] = field(default_factory=dict)
    """The original model's metrics, computed like the trial's."""
    reference: dict[str, float] = field(default_factory=dict)
    """The retain-only reference's metrics; empty without a reference."""
    reason: str = ""
    """Why it ended: the stop rule, or the first line of the error."""
    model_path: str = ""
    """Path of the unlearned model; empty if it was not kept."""
    curve: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """The objectives by step, at the steps where the model was evaluated."""
    nodes: Sequence[str] = ()
    """Nodes of its workers, in order of use: each as address and Ray node id."""
    reference_kind: str = ""
    """Why the reference is considered free of the forget set (`Outcome.reference_kind`)."""
    reference_origin: str = ""
    """The same in words."""
    nothing_to_forget: str = ""
    """Explanation if the original model did not know the forget set (`Outcome.nothing_to_forget`)."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Where its model comes from (`Provenance.labels`); empty if it has no model."""
    steps: int = 0
    unlearning_seconds: float = math.nan
    evaluation_seconds: float = math.nan
    gradient_computations: float = math.nan
    exchange_bytes: float = math.nan
    """Per step and worker."""
    trial_seconds: float = math.nan
    steps_outside_guarantee: int | None = None
    """From `Outcome`; None for methods without a guarantee, and if unknown."""
    points: Sequence[StepPoint] = ()
    """Models on its way that were kept (`search.points_per_trial`), in order of their steps."""
    cloned_from: str = ""
    """The trial, or the point of one, from whose model it started (`hamu_ray.steer`); empty if it is not a clone."""
    search_seed: int | None = None
    """The seed of the search that proposed it; None for a clone, and where an earlier version wrote the record."""
    running: bool = False
    """Whether it has not ended; the status is then `INTERRUPTED`."""

    @property
    def guaranteed(self) -> bool | None:
        """Whether every step was within the method's guarantee (`Outcome.guaranteed`); None as above."""
        return None if self.steps_outside_guarantee is None else self.steps_outside_guarantee == 0

    @property
    def candidates(self) -> "list[TrialRecord]":
        """The trial itself and its points, each as a record of its own."""
        return [self, *map(self._at, self.points)]

    def candidate(self, name: str) -> "TrialRecord | None":
        """Return the trial or its point of a name; None if it has no such point."""
        return next((each for each in self.candidates if each.trial_id == name), None)

    def _at(self, point: StepPoint) -> "TrialRecord":
        """Return a point as a finished trial that ended there; of the costs it has its part of the steps."""
        share = point.step / self.steps if self.steps else math.nan
        folder = PurePosixPath(self.model_path).parent.name
        name, place = (point_name(each, point.step) for each in (self.trial_id, folder))
        became = "was pruned" if self.status is Status.PRUNED else f"{self.status} later"
        end = "" if self.status is Status.FINISHED else f", which {became}: {self.reason}"
        return replace(
            self,
            trial_id=name,
            status=Status.FINISHED,
            reason=f"step {point.step} of trial {self.trial_id}{end}",
            configuration=stopped_at(self.configuration, point.step),
            measures=dict(point.measures),
            model_path=place.join(self.model_path.rsplit(folder, 1)) if self.model_path else "",
            steps=point.step,
            unlearning_seconds=self.unlearning_seconds * share,
            gradient_computations=self.gradient_computations * share,
            steps_outside_guarantee=point.steps_outside_guarantee,
            provenance={label: text for label, text in self.provenance.items() if label != "model"},
            points=(),
        )

    @property
    def costs(self) -> dict[str, float]:
        """Its costs by the names of `hamu_ray.metrics.table.COSTS`, without unknown ones."""
        values = {name: getattr(self, name) for name in COSTS}
        known = {name: float(value) for name, value in values.items() if value is not None}
        if not self.steps and math.isnan(self.unlearning_seconds):
            del known["steps"]
        return {name: value for name, value in known.items() if math.isfinite(value)}


def point_name(trial: str, step: int) -> str:
    """Return the name of a trial's point, such as `0003@12`."""
    return f"{trial}{AT}{step}"


def trial_of(name: str) -> str:
    """Return the name of the trial that a trial or a point belongs to."""
    return name.partition(AT)[0]


def step_of(name: str) -> int | None:
    """Return the step of a point; None for a trial."""
    step = name.partition(AT)[2]
    return int(step) if step else None


def stopped_at(configuration: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Return a run's configuration with which it ends with the model after so many steps."""
    return {
        **configuration,
        "stop": {**configuration.get("stop", {}), "after_steps": step, "rewind": None},
    }
