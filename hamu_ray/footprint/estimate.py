"""What the workers of runs need, whether it fits their device, and which setting would make it fit."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import assign
from hamu_ray.footprint.device import Device
from hamu_ray.footprint.parts import Footprint
from hamu_ray.footprint.phases import footprints
from hamu_ray.footprint.trace import Tracers
from hamu_ray.tasks.forecast import Forecast

SHARDS = (2, 4, 8, 16, 32, 64)
"""Numbers of shards that are proposed."""


class Estimator:
    """The memory of runs on the same data. What was traced once is known."""

    def __init__(
        self, device: Device | None, forecast: Forecast | None, tracers: Tracers | None = None
    ) -> None:
        """Estimate for workers on a device; ``forecast`` is that of the data, if it is known.

        Estimators that are given the same ``tracers`` trace each model once.
        """
        self.device, self.forecast = device, forecast
        self.share = device.share if device else float("inf")
        """Bytes that a worker can use."""
        self._tracers = tracers or Tracers()

    def footprints(self, run: RunConfig) -> list[Footprint]:
        """Return the memory of a worker in each phase of a run.

        Raises:
            ValueError: Its model cannot be determined.
        """
        on_gpu = self.device.is_gpu if self.device else run.workers.gpus > 0
        place = "gpu" if on_gpu else "host"
        return footprints(run, self._tracers.of(run, self.forecast), self.forecast, place)

    def fits(self, footprint: Footprint) -> bool:
        """Whether a worker in this phase fits its part of the device."""
        return footprint.base <= self.share and footprint.total <= self.share

    def remedy(self, run: RunConfig) -> Mapping[str, Any] | None:
        """Return the first keys with other values with which a run fits; None if none of these does.

        Passes over fewer examples do not change its results, gradient checkpointing costs time, shards cost workers,
        and adapters change what is trained.
        """
        for changes in proposals(run):
            changed = with_changes(run, changes)
            smaller = None if changed is None else self._smaller(changed)
            if smaller is not None:
                return {**changes, **smaller}
        return None

    def _smaller(self, run: RunConfig) -> dict[str, int] | None:
        """Return keys of smaller passes with which a run fits, none if it does already; None if they do not help."""
        changes: dict[str, int] = {}
        while over := [each for each in self.footprints(run) if not self.fits(each)]:
            largest = None if over[0].base > self.share else over[0].largest
            if largest is None or largest.key is None or largest.examples < 2:
                return None
            changes[largest.key] = largest.examples // 2
            changed = with_changes(run, changes)
            assert changed is not None, "any number of examples is valid"
            run = changed
        return changes


def proposals(run: RunConfig) -> Iterator[dict[str, Any]]:
    """Yield changes of a run that may need less memory, those that cost the least first."""
    yield {}
    if run.data.task != "language":
        return
    recomputed: dict[str, Any] = {"model.gradient_checkpointing": True}
    adapters: dict[str, Any] = {"model.lora": {}}
    if "train" in (run.original.source, run.reference.source):
        adapters["training.parameters"] = "lora"
    of_more = ("forget_workers", "min_count")  # of other counts of workers
    unset = {f"workers.{key}": None for key in of_more if getattr(run.workers, key) is not None}
    sharded: list[dict[str, Any]] = [
        {"workers.shards": shards, "workers.count": shards, **unset} for shards in SHARDS
    ]
    more = [shards for shards in sharded if shards["workers.shards"] > run.workers.shards]
    yield recomputed
    for basis in ({}, recomputed):
        yield from ({**shards, **basis} for shards in more)
    if getattr(run.model, "lora", None) is None:
        yield adapters
        for basis in ({}, *more):
            yield {**adapters, **recomputed, **basis}


def with_changes(run: RunConfig, changes: Mapping[str, Any]) -> RunConfig | None:
    """Return a run with other values of some keys; None if they do not go together."""
    document = run.model_dump(mode="json", exclude_unset=True)
    for key, value in changes.items():
        assign(document, key, value)
    try:
        return RunConfig.model_validate(document)
    except ValidationError:
        return None
