"""Tune callback that forwards trial updates to tracking, to the terminal and to the sweep's records."""

import errno
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ray import tune
from ray.actor import ActorHandle

from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.reports.front.palette import colour_of
from hamu_ray.results.folder import (
    CHECKPOINTS,
    HARDNESS_FILE,
    KEPT,
    OUTCOME_FILE,
    PROVENANCE_FILE,
    RUN_FILE,
    TRIALS,
    trial_name,
    write_record,
)
from hamu_ray.results.outcome import Failure, Outcome, Report
from hamu_ray.results.pareto.pruning import curve_of
from hamu_ray.results.provenance import readable_provenance
from hamu_ray.results.recorded_run import (
    PAUSED_AT,
    SEARCH_SEED,
    TOTAL_STEPS,
    clone_tags,
    point_tags,
    provenance_tags,
)
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import describe
from hamu_ray.storage import remove_folder
from hamu_ray.terminal.sweep_view import SweepView
from hamu_ray.tracking.client import COLOUR, COMMIT
from hamu_ray.tracking.labels import labels_of
from hamu_ray.tracking.outbox import SYSTEM, Outbox
from hamu_ray.tuning.budget import Budgets, gpus_of
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.tuning.trainable import CLONED_FROM, EVENTS, NUMBER, PARAMETERS, run_of
from hamu_ray.tuning.trial_state import TrialState, make_record, record_of_waiting
from hamu_ray.tuning.usage import Usage
from hamu_ray.workers.messages import Started, SystemSample


class SweepListener(tune.Callback):
    """The callback. It runs in the driver, the only process that writes to tracking."""

    def __init__(self, plan: SweepPlan, outbox: Outbox, pool: ActorHandle, view: SweepView) -> None:
        """Track trials as children of the sweep's run, and write their records into the sweep's folder."""
        self.plan = plan
        self.outbox = outbox
        self.pool = pool
        self.view = view
        self.running: dict[str, TrialState] = {}
        """The running trials, by Tune's ids."""
        self.paused: dict[str, TrialState] = {}
        """The trials that wait at a rung, by their names."""
        self.usage = Usage()
        self.budget = Budgets(plan, plan.records)
        self._sent = outbox.sent_states()
        self._clones = {trial_name(clone.number) for clone in plan.clones}
        """The clones that the view's total includes."""
        self._said_that_rungs_are_beyond = False

    def __reduce__(self) -> tuple:
        """Pickle as nothing: Tune pickles its callbacks into its own checkpoint, which is never read."""
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Start the trial's run in tracking. Tune calls this again when it restarts the trial's process."""
        if trial.trial_id in self.running:
            return
        self.usage.at_once = max(self.usage.at_once, len(self.running) + 1)
        name, parameters = trial_name(trial.config[NUMBER]), trial.config[PARAMETERS]
        if name in self.paused:
            self._continue(trial.trial_id, self.paused.pop(name))
            return
        run, cloned_from = run_of(trial.config, self.plan), trial.config.get(CLONED_FROM, "")
        self.budget.start(name, run.workers)
        labels = labels_of(run)
        colour = colour_of(run.method.name, self.plan.config.methods)
        search_seed = self.plan.search_seed(trial.config[NUMBER])
        self.running[trial.trial_id] = TrialState(
            name, parameters, run, self._sent[name], cloned_from=cloned_from, search_seed=search_seed
        )
        self.outbox.start_trial(
            name,
            self.plan.name,
            describe(parameters),
            parameters={**flatten(run.model_dump(mode="json")), **labels},
            tags={**labels, "sweep": self.plan.name, "status": "running", COLOUR: colour}
            | clone_tags(cloned_from, parameters)
            | ({} if search_seed is None else {SEARCH_SEED: search_seed}),
        )
        if cloned_from and name not in self._clones:
            self._clones.add(name)
            self.view.progress.total += 1
            self._set_remaining()

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        """Forward a trial's events.

        Raises:
            OSError: A worker could not write the storage. The sweep ends, and its trials run again when it is resumed.
        """
        state = self.running[trial.trial_id]
        for event in result.get(EVENTS, []):
            match event:
                case Report():
                    self._forward(state, event)
                case Started(nodes):
                    self._place(state, nodes)
                case SystemSample():
                    self._log_system(state, event)
                case Failure(storage_lost=True):
                    raise OSError(errno.ENOSPC, event.reason)
                case Outcome() | Failure():
                    state.end = event

    def _place(self, state: TrialState, nodes: Sequence[str]) -> None:
        """Record nodes of a trial at once: it may end while no driver follows it."""
        if fresh := [node for node in nodes if node not in state.sent.nodes]:
            state.sent.nodes += fresh
            self.outbox.set_tags(state.name, {"node": ", ".join(state.sent.nodes)})

    def _log_system(self, state: TrialState, sample: SystemSample) -> None:
        """Log a sample as MLflow does: by the sample's number, and with the node's address where there are several."""
        place = f"{sample.node.partition('/')[0]}/" if len(state.sent.nodes) > 1 else ""
        metrics = {f"{SYSTEM}{place}{name}": value for name, value in sample.metrics.items()}
        self.outbox.log_metrics(state.name, metrics, state.sent.samples)
        state.sent.samples += 1

    def _forward(self, state: TrialState, report: Report) -> None:
        self.view.show(state.name, state.parameters, report)
        if report.phase != "unlearning":
            if not report.total_steps:
                state.bases[report.phase] = report.measures
            return
        if math.isnan(self.usage.began):
            self.usage.began = time.monotonic()
        if state.sent.total_steps != report.total_steps:
            state.sent.total_steps = report.total_steps
            self.outbox.set_tags(state.name, {TOTAL_STEPS: report.total_steps})
            self._check_rungs(report.total_steps)
        state.curve |= curve_of([report], self.plan.metrics)
        evaluation = (report.step, len(report.measures))
        if report.measures and evaluation not in state.sent.evaluations:
            state.sent.evaluations.add(evaluation)
            self.outbox.log_metrics(state.name, report.measures, report.step)
        # A run that resumed from a checkpoint reports steps again that are already in the outbox.
        fresh = [i for i, step in enumerate(report.history_steps) if step > state.sent.last_step]
        if fresh:
            history = {name: [values[i] for i in fresh] for name, values in report.history.items()}
            steps = [report.history_steps[i] for i in fresh]
            self.outbox.log_history(state.name, history, steps)
            state.sent.last_step = steps[-1]

    def _check_rungs(self, steps: int) -> None:
        """Say which rungs are beyond a trial's last step, once: where its length is in epochs, only the trial knows."""
        scheduler = self.plan.config.search.scheduler
        beyond = sorted(set(scheduler.steps) - set(scheduler.pauses(steps))) if scheduler else []
        if beyond and not self._said_that_rungs_are_beyond:
            self._said_that_rungs_are_beyond = True
            rungs = " and ".join(map(str, beyond))
            self.view.rows.print(
                f"search.scheduler.steps: {rungs} without effect, as a trial has {steps} steps; make duration.epochs "
                "larger, or give other steps"
            )

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Finish the trial's run and write its record, or keep its state if it waits at a rung."""
        state = self.running.pop(trial.trial_id)
        if isinstance(state.end, Outcome) and state.end.paused:
            self._pause(state, state.end.steps)
        else:
            self._finish(state)

    def _pause(self, state: TrialState, step: int) -> None:
        self._count(state)
        self.paused[state.name] = state
        self.outbox.set_tags(state.name, {PAUSED_AT: step})
        self.view.pause(state.name)
        self._set_remaining()

    def _continue(self, tune_id: str, state: TrialState) -> None:
        if isinstance(state.end, Outcome):
            state.before = state.end
            state.evaluated += state.end.evaluation_seconds
        state.began, state.end = time.monotonic(), None
        self.running[tune_id] = state
        self.budget.start(state.name, state.run.workers)
        self.outbox.set_tags(state.name, {PAUSED_AT: ""})
        self._set_remaining()

    def give_up(self, number: int) -> None:
        """End a trial that waits at a rung: it was pruned, with its metrics and its points there."""
        state = self.paused.pop(trial_name(number))
        self._write(state)
        folder = self.plan.results / TRIALS / state.name
        remove_folder(folder / KEPT)
        if not state.run.checkpoint.keep:
            remove_folder(folder / CHECKPOINTS)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Finish the run of a trial whose process died too often, and drop its slot."""
        state = self.running.pop(trial.trial_id)
        state.end = state.end or Failure("its trial actor died")
        self.pool.release.remote(state.name, False)
        self._finish(state)

    def interrupt(self) -> list[TrialRecord]:
        """Finish the runs of running trials as interrupted, and of those that wait at rungs; return their records.

        The records are not written, so that a resumed sweep runs these trials to their end.
        """
        records = [make_record(state, self.plan.results) for state in self.running.values()]
        records += [record_of_waiting(state, self.plan.results) for state in self.paused.values()]
        for record in records:
            self.outbox.finish(record.trial_id, record.status, record.reason)
            self.view.end(record)
        self.running.clear()
        self.paused.clear()
        return records

    def _finish(self, state: TrialState) -> None:
        self._count(state)
        self._write(state)

    def _count(self, state: TrialState) -> None:
        """Count the time since a trial was started or continued."""
        now, record = time.monotonic(), make_record(state, self.plan.results)
        earlier = state.before.seconds if state.before else 0.0
        worked = record.unlearning_seconds - earlier + record.evaluation_seconds
        self.usage.end(state.began, now, worked, gpus_of(state.run.workers))
        seconds = max(now - state.began, worked)  # it may have ended under an earlier driver
        self.budget.end(state.name, seconds, worked)
        state.seconds += seconds

    def _write(self, state: TrialState) -> None:
        """Finish a trial's run and write its record."""
        record = make_record(state, self.plan.results, self.plan.metrics)
        evaluated = record.evaluation_seconds + state.evaluated
        record = replace(record, trial_seconds=state.seconds, evaluation_seconds=evaluated)
        folder = self.plan.results / TRIALS / state.name
        self.outbox.log_metrics(state.name, record.costs, record.steps)
        files = [folder / name for name in (RUN_FILE, PROVENANCE_FILE, OUTCOME_FILE, HARDNESS_FILE)]
        self.outbox.log_files(state.name, [str(path) for path in files if path.exists()])
        if provenance := readable_provenance(folder):
            self.outbox.log_data(state.name, state.run.data.model_dump(mode="json"), provenance.sets())
        tags = {
            "model_path": record.model_path,
            "on_front": "false",
            "knee": "false",
            "reference": record.reference_kind,
            "reference_origin": record.reference_origin,
        }
        if record.nothing_to_forget:
            tags["nothing_to_forget"] = record.nothing_to_forget
        tags |= provenance_tags(record.provenance) | point_tags(record.points)
        if commit := record.provenance.get("commit"):
            tags[COMMIT] = commit
        if record.guaranteed is not None:
            tags["guaranteed"] = str(record.guaranteed).lower()
        self.outbox.finish(state.name, record.status, record.reason, tags)
        write_record(self.plan.folder, record)
        self.view.end(record)
        self._set_remaining()

    def _set_remaining(self) -> None:
        """Tell the pool how many trials need a slot."""
        self.pool.set_remaining.remote(self.remaining())

    def remaining(self) -> int:
        """Return how many trials need a slot: those that are running, and those to come that the budget allows.

        Of those that wait at rungs, one at a time may.
        """
        left = self.view.total - self.view.ended - max(len(self.paused) - 1, 0)
        return int(min(left, len(self.running) + self.budget.affordable()))
