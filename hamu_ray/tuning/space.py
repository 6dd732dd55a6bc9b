"""How much space the rest of a sweep needs, for the message of a full disk."""

import errno
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hamu_ray.results.folder import RECORD_FILE, TRIALS
from hamu_ray.results.wording import counted
from hamu_ray.storage import storage_error
from hamu_ray.tuning.plan import SweepPlan

MEGABYTE = 1_000_000
FULL = {errno.ENOSPC, errno.EDQUOT}
"""Codes of errors that say that a disk or a quota is full."""


@contextmanager
def space_noted(plan: SweepPlan) -> Iterator[None]:
    """Within, an error of a full disk gets a note with the space that the remaining trials need."""
    try:
        yield
    except Exception as error:
        lost = storage_error(error)
        if lost is not None and lost.errno in FULL:
            left = plan.trials + len(plan.clones) - len(list((plan.folder / TRIALS).glob(f"*/{RECORD_FILE}")))
            size = largest_trial(plan)
            if left * size > free_space(plan.folder):
                need = left * size / MEGABYTE
                error.add_note(
                    f"the {counted(left, 'trial')} left to run {'needs' if left == 1 else 'need'} about {need:,.0f} MB"
                )
        raise


def largest_trial(plan: SweepPlan) -> int:
    """Return the size of the largest folder of a trial so far, in bytes, with its checkpoints; 0 behind a URL."""
    if not isinstance(plan.results, Path):
        return 0
    folders = (plan.results / TRIALS).glob("*/")
    return max((sum(_size(path) for path in folder.rglob("*")) for folder in folders), default=0)


def free_space(folder: Path) -> float:
    """Return the free space of a folder's file system in bytes; infinite if the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except FileNotFoundError:
        return math.inf


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # removed meanwhile
        return 0
