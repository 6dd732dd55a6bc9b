"""Tune, which runs the trials."""

import signal
from datetime import datetime
from pathlib import Path

from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.sweep.listener import SweepListener
from hamu_ray.sweep.search import UnlearningSearch
from hamu_ray.sweep.trainable import run_trial
from hamu_ray.workers.capacity import ON_THE_HEAD


def tune_trials(
    config: SweepConfig,
    search: UnlearningSearch,
    listener: SweepListener,
    folder: Path,
    count: int,
) -> None:
    """Let Tune run trials, until the end, the time budget, or Ctrl-C (a SIGTERM is taken for one)."""
    trainable = tune.with_parameters(
        run_trial, sweep=config, pool=listener.pool, results=str(listener.results)
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, ON_THE_HEAD),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=count,
            reuse_actors=True,
            time_budget_s=config.search.time_budget,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now():%Y%m%d-%H%M%S}",
            storage_path=str(folder),
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=TRIAL_RESTARTS),
            verbose=0,
            log_to_file=False,
        ),
    )
    # Tune would copy these into the trials' runtime environment, which Ray logs; nodes have credentials of their own.
    ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        tuner.fit()  # takes an interrupt as the wish to end, and returns
    finally:
        signal.signal(signal.SIGTERM, previous)


TRIAL_RESTARTS = 3
"""How often the process of a trial that died is started again; its work goes on in the slot meanwhile."""
