"""The plan of a sweep, computed once from its configuration and passed to everything that runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hamu_ray.config.search import Objective, directions
from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import positions, samples_of
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.results.folder import STUDY_FILE, SWEEPS, read_records
from hamu_ray.results.pareto.pruning import ReferenceCurves
from hamu_ray.results.pareto.trajectory import Keeping
from hamu_ray.results.steering.clones import Clone, read_clones
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.tuning.search.algorithm import Choice, choose
from hamu_ray.tuning.search.warm_start import WarmStart, warm_start_of


@dataclass(frozen=True)
class SweepPlan:
    """A sweep's trials, worker groups, objectives and folders. It does not change while the sweep runs."""

    config: SweepConfig
    folder: Path
    """The sweep's folder on the driver's machine: configuration, records, study, outbox, front."""
    storage: StoragePath
    """The storage that all nodes share."""
    grid: Sequence[Mapping[str, Scalar]]
    """The cells of the grids."""
    groups: Sequence[WorkersConfig]
    """The different worker groups that trials run on."""
    records: Sequence[TrialRecord]
    """Records of the trials that have already ended, if the sweep is resumed."""
    reference: ReferenceCurves | None
    """Initial curves with which running trials are compared for pruning; None without pruning."""

    clones: Sequence[Clone] = ()
    """Trials that a person started from others, whether they have ended or not. The trials below are without them."""
    warm_start: WarmStart | None = None
    """Trials of an earlier sweep that the search starts with; None without any, and if its studies have them."""

    @property
    def name(self) -> str:
        """The sweep's name in tracking and storage: the name of its folder, which includes its start time."""
        return self.folder.name

    @property
    def results(self) -> StoragePath:
        """Where workers write the trials' models and outcomes."""
        return self.storage / SWEEPS / self.name

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(self.positions)

    @property
    def repeats(self) -> int:
        """How many searches there are, which differ in their seed."""
        return self.config.search.repeats

    @cached_property
    def cells(self) -> list[Mapping[str, Scalar]]:
        """The cells of the grids, those of one search after those of another. Each has a study of its own."""
        return [*self.grid] * self.repeats

    @cached_property
    def samples(self) -> list[int]:
        """The number of samples of each of `cells`."""
        return samples_of(self.config, self.grid) * self.repeats

    @cached_property
    def seeds(self) -> list[int]:
        """The seed of the search that each of `cells` belongs to."""
        return [self.config.search.seed + cell // len(self.grid) for cell in range(len(self.cells))]

    @cached_property
    def positions(self) -> list[tuple[int, int]]:
        """Sample and cell of each trial, by its number."""
        return positions(self.samples)

    @cached_property
    def numbers(self) -> dict[tuple[int, int], int]:
        """The number of the trial of a sample and a cell."""
        return {position: number for number, position in enumerate(self.positions)}

    @property
    def remaining(self) -> int:
        """The number of trials that have no record yet."""
        return self.trials - len(self.own_records)

    @property
    def own_records(self) -> list[TrialRecord]:
        """The records of the sweep's own trials, without clones."""
        return [record for record in self.records if self.is_own(int(record.trial_id))]

    def search_seed(self, number: int) -> int | None:
        """Return the seed of the search that proposed a trial, by its number; None for a clone."""
        return self.seeds[self.positions[number][1]] if self.is_own(number) else None

    def is_own(self, number: int) -> bool:
        """Whether a trial is one of the sweep's own, by its number: clones have those after them."""
        return number < self.trials

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The metrics that the sweep optimises."""
        return self.config.search.objectives

    @property
    def keeping(self) -> Keeping | None:
        """Which models of a trial are kept on its way; None for none."""
        most = self.config.search.points_per_trial
        maximise = directions(self.objectives)
        return Keeping(self.metrics, maximise, None if most == "auto" else most) if most else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the objectives' metrics."""
        return tuple(objective.metric for objective in self.objectives)

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of the metrics that the search uses: of the objectives and of the constraints."""
        return tuple(dict.fromkeys((*self.metrics, *self.config.search.constraints)))

    @cached_property
    def choice(self) -> Choice:
        """The search algorithm, and why `auto` chose it."""
        return choose(self.config, self.cells, max(self.samples))

    @property
    def concurrent(self) -> int | None:
        """Maximum number of concurrent trials; None for as many as fit the cluster."""
        return self.config.search.concurrent

    @property
    def largest_group(self) -> WorkersConfig:
        """The worker group with the most workers."""
        return max(self.groups, key=lambda group: group.count)


def plan_sweep(config: SweepConfig, folder: Path) -> SweepPlan:
    """Return the plan of a sweep in a folder, which need not exist yet."""
    records, grid = read_records(folder), tuple(config.cells())
    return SweepPlan(
        config=config,
        folder=folder,
        storage=storage_path(config.storage.path),
        grid=grid,
        groups=worker_groups(config),
        records=tuple(records),
        reference=reference_curves(config, records),
        clones=read_clones(folder),
        warm_start=warm_start_of(config, grid, folder / STUDY_FILE),
    )


def worker_groups(config: SweepConfig) -> tuple[WorkersConfig, ...]:
    """Return the different worker groups that a sweep's trials run on."""
    groups: list[WorkersConfig] = []
    for run in config.variants("workers."):
        if run.workers not in groups:
            groups.append(run.workers)
    return tuple(groups)


def reference_curves(config: SweepConfig, records: Sequence[TrialRecord]) -> ReferenceCurves | None:
    """Return the curves of the trials that finished before; None if the configuration does not prune."""
    if config.search.pruning is None:
        return None
    objectives = config.search.objectives
    return ReferenceCurves(
        metrics=[objective.metric for objective in objectives],
        maximise=directions(objectives),
        margin=config.search.pruning.margin,
        grace_steps=config.search.pruning.grace_steps,
        curves=tuple(record.curve for record in records if record.status is Status.FINISHED and record.curve),
    )
