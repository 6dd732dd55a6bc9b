"""The searcher: Optuna on both objectives at once, grids crossed with sampled dimensions, remembered in a file."""

import math
import warnings
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from hamu_ray.config.sweep import Domain, SearchConfig, SweepConfig
from hamu_ray.engine.outcome import Status

STATUS = "status"
"""The key of a Tune result under which the searcher finds how the trial ended."""

NUMBER, PARAMETERS = "number", "parameters"
"""Keys of what a Tune trial is given: Optuna's number of it, which names it everywhere, and the sampled values."""

STUDY_FILE = "optuna.log"


class UnlearningSearch(OptunaSearch):
    """`OptunaSearch` whose trials are named by their numbers in a study that outlives the driver.

    A trial without finite objectives counts as pruned if it was, and as failed otherwise: it never looks good. After
    a restart, trials that have no record yet are handed out again, with the parameters that they had.
    """

    def __init__(
        self, config: SweepConfig, folder: Path, recorded: Set[int], places: Callable[[], int]
    ) -> None:
        """Open or make the study of a sweep's folder.

        ``recorded`` are the numbers of the trials that are over; ``places`` tells how many may run at once.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / STUDY_FILE)))
        known = optuna.study.get_all_study_names(storage)
        begun = optuna.load_study(study_name=config.name, storage=storage).trials if known else []
        super().__init__(
            space=_no_space,
            metric=[objective.metric for objective in config.search.objectives],
            mode=[objective.mode for objective in config.search.objectives],
            # Another seed after a restart, or the sampler would draw again what it drew at the start.
            sampler=make_sampler(config.search, config.search.seed + len(begun)),
            study_name=config.name,
            storage=storage,
        )
        study: optuna.Study | None = self._ot_study
        if study is None:
            raise RuntimeError("the study has to be there once the searcher has a space")
        self._study = study
        self._config = config
        self._again = [t.number for t in begun if t.state != TrialState.WAITING and t.number not in recorded]
        self._numbers: dict[str, int] = {}
        self._places = places
        for cell in queue_of(config)[len(begun) :]:
            self._study.enqueue_trial(cell)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's number and parameters; None while all places are taken."""
        if len(self._numbers) >= self._places():
            return None
        if self._again:
            number = self._again.pop(0)
            parameters = self._study.trials[number].params
        else:
            trial = self._study.ask()
            suggest(trial, self._config)
            number, parameters = trial.number, trial.params
        self._numbers[trial_id] = number
        return {NUMBER: number, PARAMETERS: dict(parameters)}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Tell the study a trial's end."""
        values = [(result or {}).get(metric, math.nan) for metric in self.metric]
        good = not error and all(math.isfinite(value) for value in values)
        pruned = (result or {}).get(STATUS) == Status.PRUNED
        state = TrialState.COMPLETE if good else TrialState.PRUNED if pruned else TrialState.FAIL
        number = self._numbers.pop(trial_id)
        self._study.tell(number, values if good else None, state, skip_if_finished=True)


def _no_space(trial: optuna.Trial) -> None:
    """Stand in for a space: `UnlearningSearch.suggest` samples."""


def queue_of(config: SweepConfig) -> list[dict[str, Any]]:
    """Return the grids' cells, as often as they are sampled; empty where nothing is a grid."""
    queue = [dict(cell) for _ in range(config.search.samples) for cell in config.cells()]
    return queue if any(queue) else []


def make_sampler(search: SearchConfig, seed: int) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler of a search algorithm."""
    match search.algorithm:
        case "tpe":
            # Grouped: methods have different parameters, and each combination is modelled on its own.
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "random" | "grid":
            return optuna.samplers.RandomSampler(seed=seed)


def suggest(trial: optuna.Trial, config: SweepConfig) -> None:
    """Sample the method and its forget objective first, then every parameter that the two have."""
    sampled: dict[str, Any] = {}
    for path in config.in_order:
        if config.applies(path, sampled):
            sampled[path] = suggest_one(trial, path, config.space[path])


def suggest_one(trial: optuna.Trial, path: str, domain: Domain) -> Any:
    """Sample one parameter."""
    if domain.uniform is not None:
        return trial.suggest_float(path, *domain.uniform)
    if domain.loguniform is not None:
        return trial.suggest_float(path, *domain.loguniform, log=True)
    if domain.integers is not None:
        return trial.suggest_int(path, *domain.integers)
    return trial.suggest_categorical(path, domain.examples)
