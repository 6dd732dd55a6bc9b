"""A finished sweep with every file that a sweep leaves, made without Ray by the code that a driver and workers run."""

import json
from pathlib import Path

import torch

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.reports.make import leave_report
from hamu_ray.results.durable.append_log import AppendLog
from hamu_ray.results.durable.lease import LEASE_FILE, Lease
from hamu_ray.results.folder import REFUSED_FILE, TRIALS, read_records, trial_name, write_record
from hamu_ray.results.outcome import Outcome, Status, Verdict
from hamu_ray.results.sweep_folders import make_folder, new_folder
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery
from hamu_ray.tracking.outbox import Outbox, SentState
from hamu_ray.tuning.finish import leave_result
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.run import start_tracking
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, STATUS
from hamu_ray.tuning.trial_state import TrialState, make_record
from tests.runs import small_run

TRIALS_MADE = 2


def sweep_config(storage: Path) -> SweepConfig:
    """A sweep of short runs that keep their checkpoints."""
    sections = {
        "name": "made",
        "training": {"epochs": 1, "batch_size": 512},
        "duration": {"steps": 4},
        "checkpoint": {"every_steps": 2, "keep": True},
        "space": {"optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]}},
        "search": {"samples": TRIALS_MADE},
    }
    return SweepConfig.model_validate(small_run(storage, **sections))


def make_sweep(storage: Path) -> Path:
    """Run the sweep in this process, and return its folder."""
    config = sweep_config(storage)
    folder = new_folder(config, storage)
    plan = plan_sweep(config, folder)
    make_folder(folder, config)
    with Lease(folder):
        outbox = Outbox(folder)
        start_tracking(plan, outbox)
        run_trials(plan, outbox)
        leave_result(plan, outbox, read_records(folder), Status.FINISHED)
        tracker = MlflowTracker.open(f"sqlite:///{storage}/mlflow.db", "made", storage)
        delivery = Delivery(folder, tracker, tracker.store)
        delivery.send()
        leave_report(folder, tracker, delivery.runs[plan.name])
        AppendLog(folder / REFUSED_FILE).append([json.dumps({"call": "finish", "error": "refused"})] * 3)
        lease = (folder / LEASE_FILE).read_bytes()
    (folder / LEASE_FILE).write_bytes(lease)  # as a driver that was killed leaves it
    return folder


def run_trials(plan: SweepPlan, outbox: Outbox) -> None:
    """Run the trials one after another, and record them like the driver."""
    search = UnlearningSearch(plan, lambda: 1)
    resident = Resident(plan.storage, torch.device("cpu"))
    for number in range(plan.trials):
        suggested = search.suggest(str(number))
        assert suggested is not None
        name, parameters = trial_name(suggested[NUMBER]), suggested[PARAMETERS]
        run = plan.config.resolve(parameters)
        state = TrialState(name, parameters, run, SentState())
        outbox.start_trial(name, plan.name, name, run.model_dump(mode="json"))
        folder = plan.results / TRIALS / name
        state.end = end = unlearn(run, resident, Alone(), folder, lambda report: Verdict.GO_ON)
        assert isinstance(end, Outcome)
        outbox.log_metrics(name, end.measures, end.steps)
        outbox.finish(name, end.status, end.reason)
        write_record(plan.folder, make_record(state, plan.results))
        search.on_trial_complete(str(number), {**end.measures, STATUS: end.status})
