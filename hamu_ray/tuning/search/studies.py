"""The Optuna studies of a sweep, in its folder: what was drawn for each sample, and what came of it."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hamu_ray.config.search import violations
from hamu_ray.config.space import Scalar
from hamu_ray.results.outcome import Status
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.tuning.search.algorithm import MOST_RANDOM, ask_for, common_draws, make_sampler, startup_of
from hamu_ray.tuning.search.candidates import best_candidate
from hamu_ray.tuning.search.sampling import cells_but_for_the_seeds, parameter_name, sampled_names, suggest
from hamu_ray.tuning.search.study_log import open_log
from hamu_ray.tuning.search.warm_start import EarlierSample

EARLIER = "earlier_trials"
"""Attribute of a study's trials that are of an earlier sweep (`search.warm_start`): the names of its trials."""

DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


class Studies:
    """A study for each cell of the grids and each repetition of the search, so that none learns from another's trials.

    Cells that differ in seeds alone share a study: every sample is run with each of the seeds, and its values are
    the means of the objectives over them. A trial's number says which sample of which cell it is, so that after a
    restart the trials without a record have the parameters that they had. A sample without finite objectives counts as
    failed if one of its trials failed, and as pruned otherwise: it never looks good.

    Each sample has a sampler with a seed of its own, so that what is drawn follows from the search's seed, the sample's
    number and the samples before it, whether or not the driver was restarted meanwhile.
    """

    def __init__(self, plan: SweepPlan) -> None:
        """Open the studies in the sweep's folder, or create them, and tell them of the trials that have ended."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._plan = plan
        self._algorithm = plan.choice.algorithm
        self._peers = cells_but_for_the_seeds(plan.cells, plan.seeds)
        self._log, self._known = open_log(plan.folder)
        self._storage = JournalStorage(self._log)
        self._studies: dict[int, optuna.Study] = {}
        self._warm: dict[int, int] = {}
        budget = plan.config.search.budget
        self._draws = (
            {seed: common_draws(plan.config, seed, MOST_RANDOM) for seed in set(plan.seeds)} if budget else {}
        )
        self._earlier = plan.warm_start.by_study(self._peers[: len(plan.grid)]) if plan.warm_start else {}
        if self._earlier:
            with self._log.transaction():  # a study file says that all studies have theirs
                for cell in {peers[0] for peers in self._peers}:
                    self.study(cell)
        self._ends: dict[int, tuple[Status, list[float]]] = {}
        for record in plan.own_records:
            final = record.measures if record.status is Status.FINISHED else {}
            points = [point.measures for point in record.points]
            self.end(int(record.trial_id), record.status, final, points)

    def has_ended(self, number: int) -> bool:
        """Whether a trial has ended, by its number."""
        return number in self._ends

    def parameters(self, number: int) -> dict[str, Scalar]:
        """Return the values of a trial, sampled now unless another trial has the same sample."""
        sample, cell = self._plan.positions[number]
        sampled = self._with_sample(cell, sample).params
        values = dict(self._plan.cells[cell]) | {
            path: sampled[name]
            for path, domains in self._plan.config.space.items()
            for domain in domains
            if (name := parameter_name(path, domain, domains)) in sampled
        }
        return {path: values[path] for path in self._plan.config.in_order if path in values}

    def _with_sample(self, cell: int, sample: int) -> optuna.trial.FrozenTrial:
        """Return a sample of a cell's study, in which it and those before it are drawn."""
        study, first = self.study(self._peers[cell][0]), self._warm[self._peers[cell][0]]
        for number in range(len(study.get_trials(deepcopy=False)) - first, sample + 1):
            self._draw(study, cell, number)
        return study.get_trials(deepcopy=False)[first + sample]

    def _draw(self, study: optuna.Study, cell: int, sample: int) -> None:
        """Draw a sample, or take its values from one of its trials if these are known."""
        config, cells = self._plan.config, self._plan.cells
        known = [self._known.get(self._plan.numbers[sample, peer]) for peer in self._peers[cell]]
        entropy = (self._plan.seeds[cell], self._peers[cell][0] % len(self._plan.grid), sample)
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        study.sampler = make_sampler(self._algorithm, self._plan.samples[cell], seed)
        with self._log.transaction():
            parameters = next(filter(None, known), None) or self._common(cell, sample)
            trial = ask_for(study, sampled_names(config, parameters)) if parameters else study.ask()
            suggest(trial, config, cells[cell])

    def _common(self, cell: int, sample: int) -> Mapping[str, Scalar] | None:
        """Return the values of one of the first samples of a sweep with a budget, which all cells share."""
        draws = self._draws.get(self._plan.seeds[cell], [])
        if sample >= len(draws) or sample >= startup_of(self._plan.samples[cell]):
            return None
        values = dict(self._plan.cells[cell])
        for path in self._plan.config.in_order:
            domain = None if path in values else self._plan.config.domain(path, values)
            if domain is not None:
                values[path] = domain.at(draws[sample][path])
        return values

    def end(
        self,
        number: int,
        status: Status,
        measures: Mapping[str, float],
        points: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Record a trial's end, and report the sample to its study once all of its trials have ended.

        Of a sample that is one trial, the best of its end and of its points is reported.
        """
        watched = self._plan.watched
        sample, cell = self._plan.positions[number]
        if points and len(self._peers[cell]) == 1:
            measures = best_candidate(self._plan, self.study(cell), [measures, *points])
        self._ends[number] = status, [measures.get(metric, math.nan) for metric in watched]
        ends = [self._ends.get(self._plan.numbers[sample, other]) for other in self._peers[cell]]
        over = [end for end in ends if end is not None]
        if len(over) < len(ends):
            return
        means = dict(zip(watched, np.mean([values for _, values in over], axis=0).tolist(), strict=True))
        good = all(math.isfinite(means[metric]) for metric in self._plan.metrics)
        failed = any(status == Status.FAILED for status, _ in over)
        # Samplers avoid regions with pruned trials and ignore failures. A collapse is due to the hyperparameters.
        state = TrialState.COMPLETE if good else TrialState.FAIL if failed else TrialState.PRUNED
        trial, study = self._with_sample(cell, sample), self._studies[self._peers[cell][0]]
        if not trial.state.is_finished():
            with self._log.transaction():
                self._tell(study, optuna.Trial(study, trial._trial_id), state, means)

    def _tell(
        self, study: optuna.Study, trial: optuna.Trial, state: TrialState, metrics: Mapping[str, float]
    ) -> None:
        """Report a sample's end and by how much it misses the constraints."""
        # Without metrics, too: TPE would otherwise prefer a collapsed trial to one that is just below the floor.
        for constraint, missing in violations(self._plan.config.search.constraints, metrics).items():
            trial.set_constraint(constraint, missing)
        values = [metrics[metric] for metric in self._plan.metrics] if state is TrialState.COMPLETE else None
        study.tell(trial.number, values, state)

    def study(self, cell: int) -> optuna.Study:
        """Return the study of a cell, which it shares with cells that differ only in the seed."""
        if cell not in self._studies:
            study = self._studies[cell] = self._open_study(cell)
            self._warm[cell] = sum(EARLIER in trial.user_attrs for trial in study.get_trials(deepcopy=False))
        return self._studies[cell]

    def _open_study(self, cell: int) -> optuna.Study:
        name = f"{self._plan.config.name}/{cell}"
        is_new = name not in optuna.get_all_study_names(self._storage)
        with self._log.transaction():
            study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[DIRECTIONS[objective.mode] for objective in self._plan.objectives],
                load_if_exists=True,
            )
            drawing = "nsga2" if self._algorithm == "nsga2" else "random"
            study.sampler = make_sampler(drawing, self._plan.samples[cell], seed=0)
            for sample in self._earlier.get(cell % len(self._plan.grid), ()) if is_new else ():
                self._add(study, cell, sample)
        return study

    def _add(self, study: optuna.Study, cell: int, sample: EarlierSample) -> None:
        """Add a sample of an earlier sweep to a study."""
        trial = ask_for(study, sampled_names(self._plan.config, sample.parameters))
        suggest(trial, self._plan.config, self._plan.cells[cell])
        trial.set_user_attr(EARLIER, list(sample.trials))
        good = all(math.isfinite(sample.metrics.get(metric, math.nan)) for metric in self._plan.metrics)
        self._tell(study, trial, TrialState.COMPLETE if good else TrialState.PRUNED, sample.metrics)
