"""Values of single examples of runs that have ended, measured after all trials, so that no trial waits for them."""

import logging
from collections.abc import Sequence

import ray
import torch

from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import load_run
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.engine.items import write_items
from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import RUN_FILE
from hamu_ray.storage import StoragePath, storage_path

logger = logging.getLogger(__name__)

MOST_SECONDS = 3600
"""Time limit for a GPU to be free and the items of all runs to be measured."""


def measure_items(folders: Sequence[StoragePath], workers: WorkersConfig, storage: StoragePath) -> None:
    """Measure the items of the runs in these folders: in this process, or in a Ray task if workers have GPUs.

    A problem is logged: a run is complete without them.
    """
    places = [str(folder) for folder in folders]
    if not workers.gpus or not places:
        measure_here(places, str(storage))
        return
    task = ray.remote(measure_here).options(
        num_cpus=workers.cpus, num_gpus=workers.gpus, accelerator_type=workers.accelerator
    )
    found = task.remote(places, str(storage))
    try:
        ray.get(found, timeout=MOST_SECONDS)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        ray.cancel(found, force=True)
        logger.warning("single examples are not shown: %s", first_line(error))


def measure_here(folders: Sequence[str], storage: str) -> None:
    """Measure the items of runs in this process, on its GPU if it has one; a problem is logged."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    resident = Resident(storage_path(storage), device)
    for folder in map(storage_path, folders):
        try:
            write_items(load_run(str(folder / RUN_FILE)), resident, folder)
        except Exception as error:  # the results have been written, and are complete without
            logger.warning("%s: single examples are not shown: %s", folder, first_line(error))
