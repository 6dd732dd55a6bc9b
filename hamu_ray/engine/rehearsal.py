"""Checks that need loading: broken images, weights that do not fit."""

import torch
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.given import built, given
from hamu_ray.engine.resident import Resident
from hamu_ray.tasks.models.hub import is_local
from hamu_ray.tasks.models.start import given_models


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
            check_finite(built(task, run.seed, given(run, key, name), key), f"{key}: {name}")


def check_finite(model: nn.Module, where: str) -> None:
    """Check that all parameters are finite numbers; ``where`` begins the message.

    Raises:
        ValueError: One of them is not.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{where}: {name} has values that are not finite; give another checkpoint")
