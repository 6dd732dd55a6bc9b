"""Load what runs need before Ray starts, so that what is wrong with it is not found by every trial."""

from collections.abc import Iterable

import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.engine.rehearsal import rehearse
from hamu_ray.engine.resident import Resident
from hamu_ray.storage import StoragePath

DECIDES_WHAT_IS_LOADED = {"data", "forget", "model", "training", "original", "reference", "seed"}
"""Sections on which it depends what a run loads."""


def rehearse_runs(runs: Iterable[RunConfig], storage: StoragePath) -> None:
    """Load the data and the given models of runs, those that share them once.

    Raises:
        ConfigError: Data or a model cannot be used: one line with the key and the remedy.
    """
    resident = Resident(storage, torch.device("cpu"))
    distinct = {run.model_dump_json(include=DECIDES_WHAT_IS_LOADED): run for run in runs}
    for run in distinct.values():
        try:
            rehearse(run, resident)
        except (ValueError, OSError) as error:
            raise ConfigError(first_line(error)) from error
