"""Checks that need loading: broken images, weights that do not fit."""

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import built, given
from hamu_ray.engine.resident import Resident
from hamu_ray.tasks.hub import is_local
from hamu_ray.tasks.start import given_models


def rehearse(run: RunConfig, resident: Resident) -> None:
    """Load the data and the given models of a run, if they are local files.

    Decoded images stay in the cache for later runs.

    Raises:
        ValueError: Data or a model cannot be used; one line with the key and the remedy.
    """
    models = [(key, name) for key, name in given_models(run) if "://" not in name and is_local(name)]
    path = getattr(run.data, "path", None)
    if models or (path is not None and is_local(path)):
        task = resident.task(run)
        for key, name in models:
            built(task, run.seed, given(run, key, name), key)
