"""The Tune experiment that runs a sweep's trials."""

import signal
from datetime import datetime

from ray import tune
from ray.actor import ActorHandle

from hamu_ray.tuning.listener import SweepListener
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.tuning.scheduler import PruningScheduler
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.steering import Steering
from hamu_ray.tuning.trainable import run_trial
from hamu_ray.workers.ray_private import HEAD_NODE, keep_credentials_out_of_tune, outlive_low_memory

TRIAL_RESTARTS = 3
"""How often a trial's process is restarted when it dies. Its run continues in the slot meanwhile."""


def tune_trials(
    plan: SweepPlan, search: UnlearningSearch, listener: SweepListener, pool: ActorHandle
) -> None:
    """Run the remaining trials until the last has ended or an interrupt.

    Ctrl-C and SIGTERM both count as an interrupt.
    """
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, plan=plan, pool=pool), dict(HEAD_NODE)),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=PruningScheduler(plan.reference, pool) if plan.reference else None,
            num_samples=-1,  # the search says when it is over: promotions and clones are further ones
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now():%Y%m%d-%H%M%S}",
            storage_path=str(plan.folder),
            callbacks=[listener, Steering(plan.folder, pool)],
            failure_config=tune.FailureConfig(max_failures=TRIAL_RESTARTS),
            verbose=0,
            log_to_file=False,
        ),
    )
    keep_credentials_out_of_tune()
    outlive_low_memory()
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        tuner.fit()  # returns after an interrupt
    finally:
        signal.signal(signal.SIGTERM, previous)
