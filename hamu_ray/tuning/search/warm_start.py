"""Trials of an earlier sweep that a search starts with: those that could be its own."""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.key_paths import SEEDS, TRAINING_SEED, flatten
from hamu_ray.config.sources.keys import keys_of_domain
from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import SWEEP_FILE, read_records
from hamu_ray.results.pareto.summary import mean_measures
from hamu_ray.results.trial import BOOKKEEPING, Status, TrialRecord
from hamu_ray.results.wording import counted, shown
from hamu_ray.tuning.search.study_log import has_studies

ENDS = (Status.FINISHED, Status.COLLAPSED)
"""Statuses that say something about the hyperparameters."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierSample:
    """Hyperparameters that an earlier sweep tried, and what came out."""

    parameters: Mapping[str, Scalar]
    """By path, with those of the grids."""
    metrics: Mapping[str, float]
    """Means over its seeds, with its costs; empty if it collapsed."""
    trials: tuple[str, ...]
    """The names of its trials."""


@dataclass(frozen=True)
class WarmStart:
    """The samples of an earlier sweep that are of the same problem as a sweep's."""

    sweep: Path
    samples: Mapping[int, Sequence[EarlierSample]]
    """By the index of a grid cell."""
    left_out: int
    """The number of its trials that are of another problem, out of range, or did not end by themselves."""

    def by_study(self, peers: Sequence[Sequence[int]]) -> dict[int, list[EarlierSample]]:
        """Return the samples by the first of the cells that share a study, given those of each cell."""
        found: dict[int, list[EarlierSample]] = defaultdict(list)
        for cell, samples in self.samples.items():
            found[peers[cell][0]].extend(samples)
        return found

    def __str__(self) -> str:
        used = sum(len(sample.trials) for samples in self.samples.values() for sample in samples)
        others = f"; {self.left_out} others are not of this problem and space" * bool(self.left_out)
        return f"{counted(used, 'trial')} of {shown(self.sweep)}{others}"


def warm_start_of(
    config: SweepConfig, cells: Sequence[Mapping[str, Scalar]], study: Path
) -> WarmStart | None:
    """Return what a sweep's search starts with; None without `search.warm_start`, and if the study has it already.

    A study that is damaged is made again with it. If the earlier sweep is gone by then, the search goes on without it.

    Raises:
        ConfigError: The sweep is new, and the earlier one cannot be used.
    """
    if config.search.warm_start is None or has_studies(study):
        return None
    try:
        return warm_start(config, cells)
    except ConfigError as error:
        if not study.exists():
            raise
        logger.warning("%s; the studies are made again without its trials", error)
        return None


def warm_start(config: SweepConfig, cells: Sequence[Mapping[str, Scalar]]) -> WarmStart:
    """Return the samples of the sweep `search.warm_start` that are in a sweep's space, by the index of a cell.

    A trial is of the same problem if its whole configuration, except for what does not change the result and the seeds,
    has the same SHA-256 as that of a run of this sweep with the trial's hyperparameters.

    Raises:
        ConfigError: It is not a sweep, or has no such trial.
    """
    folder = Path(config.search.warm_start or "").absolute()
    if not (folder / SWEEP_FILE).is_file():
        raise ConfigError(
            f"search.warm_start: {shown(folder)} is not a sweep's folder: it has no {SWEEP_FILE}"
        )
    found: dict[int, dict[str, list[tuple[Mapping[str, Scalar], TrialRecord]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    records, differs = read_records(folder), ""
    for record in records:
        run = _as_run(record) if record.status in ENDS else None
        for cell, parameters in _positions(config, cells, run or {}):
            here = config.resolve(parameters).model_dump(mode="json")
            if run is not None and problem_hash(here) == problem_hash(run):
                found[cell][json.dumps(parameters, sort_keys=True)].append((parameters, record))
                break
            differs = differs or _difference(here, run or {})
    samples = {cell: [_sample(trials) for trials in groups.values()] for cell, groups in found.items()}
    used = sum(len(trials) for groups in found.values() for trials in groups.values())
    if not used:
        reason = f": {differs} differs" if differs else ""
        raise ConfigError(
            f"search.warm_start: none of the {counted(len(records), 'trial')} of {shown(folder)} is of this problem "
            f"and space{reason}; remove it, or give another sweep"
        )
    return WarmStart(folder, samples, len(records) - used)


def problem_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run's configuration without its seeds and what does not change its result."""
    return hashlib.sha256(json.dumps(_decisive(configuration), sort_keys=True).encode()).hexdigest()


def _decisive(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in flatten(configuration).items()
        if key.partition(".")[0] not in BOOKKEEPING and key != TRAINING_SEED
    }


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the first key in which two configurations differ."""
    first, second = (_decisive(configuration) for configuration in (one, other))
    return next((key for key in first if first[key] != second.get(key)), "")


def _as_run(record: TrialRecord) -> dict[str, Any] | None:
    """Return a trial's configuration with the defaults of keys that it was recorded without; None if it is invalid."""
    try:
        return RunConfig.model_validate(record.configuration).model_dump(mode="json")
    except ValueError:  # written by another version
        return None


def _positions(
    config: SweepConfig, cells: Sequence[Mapping[str, Scalar]], run: Mapping[str, Any]
) -> Iterator[tuple[int, dict[str, Scalar]]]:
    """Yield the cells of a space that contain a run, and its hyperparameters there, whatever its seeds."""
    flat = flatten(run)
    for number, cell in enumerate(cells):
        point: dict[str, Scalar] = {}
        for path in config.in_order:
            key = keys_of_domain(path)[0]
            domain = config.domain(path, point)
            if domain is None:
                continue
            value = cell[path] if path in SEEDS and path in cell else flat.get(key)
            if not (value == cell[path] if path in cell else domain.contains(value)):
                break
            point[path] = value
        else:
            yield number, point


def _sample(trials: Sequence[tuple[Mapping[str, Scalar], TrialRecord]]) -> EarlierSample:
    collapsed = any(record.status is not Status.FINISHED for _, record in trials)
    # Costs may be objectives here and not have been there.
    known = [{**record.costs, **record.measures} for _, record in trials]
    metrics = {} if collapsed else mean_measures(known)
    return EarlierSample(trials[0][0], metrics, tuple(record.trial_id for _, record in trials))
