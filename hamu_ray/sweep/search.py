"""The searcher: Optuna on both objectives at once, for each cell of the grids on its own, remembered in a file."""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState
from ray.tune.search import Searcher

from hamu_ray.config.search import SearchConfig
from hamu_ray.config.space import Domain, Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord

STATUS = "status"
"""The key of a Tune result under which the searcher finds how the trial ended."""

NUMBER, PARAMETERS = "number", "parameters"
"""Keys of what a Tune trial is given: its number, which names it everywhere, and the sampled values."""

SEED = "seed"
"""A grid of seeds repeats what was sampled: it is not a question of its own."""

STUDY_FILE = "optuna.log"

DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}

MOST_RANDOM = 10
"""Samples that a model-based searcher draws at random first, at most; never more than half of all."""


class UnlearningSearch(Searcher):
    """A search of its own for each cell of the grids, so that one method's trials do not decide another's.

    Cells that differ in the seed alone are one search: every sample is run with each of the seeds, and counts with
    the means of its objectives. A trial's number says which sample of which cell it is, so that after a restart
    the trials without a record come again, with the parameters that they had. A sample without finite objectives
    counts as failed if one of its trials failed, and as pruned otherwise: it never looks good.
    """

    def __init__(
        self, config: SweepConfig, folder: Path, records: Iterable[TrialRecord], places: Callable[[], int]
    ) -> None:
        """Open or make the studies of a sweep's folder.

        ``records`` are those of the trials that are over; ``places`` tells how many may run at once.
        """
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._config = config
        self._places = places
        self._cells = list(config.cells())
        self._alike = cells_but_for_the_seed(self._cells)
        self._storage = JournalStorage(JournalFileBackend(str(folder / STUDY_FILE)))
        self._studies: dict[int, optuna.Study] = {}
        self._running: dict[str, int] = {}
        self._ends: dict[int, tuple[Status, list[float]]] = {}
        for record in records:
            values = [record.measures.get(o.metric, math.nan) for o in config.search.objectives]
            self._end(int(record.trial_id), record.status, values)
        total = len(self._cells) * config.search.samples
        self._waiting = deque(number for number in range(total) if number not in self._ends)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's number and parameters; None while all places are taken."""
        if len(self._running) >= self._places():
            return None
        number = self._waiting.popleft()
        self._running[trial_id] = number
        return {NUMBER: number, PARAMETERS: self._parameters(number)}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Hear of a trial's end."""
        found = {} if error or result is None else result
        values = [found.get(objective.metric, math.nan) for objective in self._config.search.objectives]
        self._end(self._running.pop(trial_id), found.get(STATUS, Status.FAILED), values)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: all is in the studies and the records."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep that goes on makes its searcher from the studies and the records."""

    def _parameters(self, number: int) -> dict[str, Scalar]:
        """Return the values of a trial, sampled now if no other trial has the same sample."""
        sample, cell = divmod(number, len(self._cells))
        study = self._study(self._alike[cell][0])
        while len(study.trials) <= sample:
            suggest(study.ask(), self._config, self._cells[cell])
        sampled = study.trials[sample].params
        values = self._cells[cell] | {
            path: sampled[name]
            for path, domains in self._config.space.items()
            for domain in domains
            if (name := parameter_name(path, domain, domains)) in sampled
        }
        return {path: values[path] for path in self._config.in_order if path in values}

    def _end(self, number: int, status: Status, values: list[float]) -> None:
        """Note a trial's end, and tell the study of it when it was the last with its sample."""
        self._ends[number] = status, values
        sample, cell = divmod(number, len(self._cells))
        ends = [self._ends.get(sample * len(self._cells) + other) for other in self._alike[cell]]
        over = [end for end in ends if end is not None]
        if len(over) < len(ends):
            return
        means = np.mean([values for _, values in over], axis=0)
        good = bool(np.isfinite(means).all())
        failed = any(status == Status.FAILED for status, _ in over)
        # Searchers shun what was pruned, and learn nothing from what failed: a collapse is the parameters' doing.
        state = TrialState.COMPLETE if good else TrialState.FAIL if failed else TrialState.PRUNED
        study = self._study(self._alike[cell][0])
        study.tell(sample, means.tolist() if good else None, state, skip_if_finished=True)

    def _study(self, cell: int) -> optuna.Study:
        """Return the study of a cell and of those that differ from it in the seed alone."""
        if cell not in self._studies:
            self._studies[cell] = self._open_study(cell)
        return self._studies[cell]

    def _open_study(self, cell: int) -> optuna.Study:
        name = f"{self._config.name}/{cell}"
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=[DIRECTIONS[objective.mode] for objective in self._config.search.objectives],
            load_if_exists=True,
        )
        # Another seed after a restart, or the sampler would draw again what it drew at the start.
        entropy = (self._config.search.seed, cell, len(study.trials))
        study.sampler = make_sampler(
            self._config.search, int(np.random.SeedSequence(entropy).generate_state(1)[0])
        )
        return study


def cells_but_for_the_seed(cells: Sequence[Mapping[str, Scalar]]) -> list[list[int]]:
    """Return, for each cell, which cells are equal to it but for the seed, itself among them."""
    keys = [tuple((path, value) for path, value in cell.items() if path != SEED) for cell in cells]
    alike: dict[tuple[tuple[str, Scalar], ...], list[int]] = {}
    for i, key in enumerate(keys):
        alike.setdefault(key, []).append(i)
    return [alike[key] for key in keys]


def make_sampler(search: SearchConfig, seed: int) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler of a search algorithm."""
    match search.algorithm:
        case "tpe":
            # Grouped: where the method is sampled too, each combination of parameters is modelled on its own.
            return optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=max(1, min(MOST_RANDOM, search.samples // 2)),
            )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "random" | "grid":
            return optuna.samplers.RandomSampler(seed=seed)


def suggest(trial: optuna.Trial, config: SweepConfig, cell: Mapping[str, Scalar]) -> None:
    """Sample what the grids' cell leaves open: method and forget objective first, then all that the two have."""
    values = dict(cell)
    for path in config.in_order:
        domain = None if path in cell else config.domain(path, values)
        if domain is not None:
            values[path] = suggest_one(trial, parameter_name(path, domain, config.space[path]), domain)


def parameter_name(path: str, domain: Domain, domains: Sequence[Domain]) -> str:
    """Return Optuna's name of a parameter: one for each domain of a path, since each has its own distribution."""
    return path if len(domains) == 1 else f"{path}[{domains.index(domain)}]"


def suggest_one(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """Sample one parameter."""
    if domain.uniform is not None:
        return trial.suggest_float(name, *domain.uniform)
    if domain.loguniform is not None:
        return trial.suggest_float(name, *domain.loguniform, log=True)
    if domain.integers is not None:
        return trial.suggest_int(name, *domain.integers)
    return trial.suggest_categorical(name, domain.examples)
