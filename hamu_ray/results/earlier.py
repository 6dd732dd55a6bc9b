"""What earlier trials on the same problem say of a constraint that is only planned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.results.folder import REPORTS_FILE, RUN_FILE, SWEEPS, TRIALS, read_reports
from hamu_ray.results.hardness import GRADIENT_COSINE, HARDNESS, first_sine, histories_of
from hamu_ray.storage import StoragePath

SECTIONS = ("data", "forget", "model", "training", "original")
"""What a problem is: two trials with these sections alike start from originals of one kind."""

LOOKED_AT = 100
"""Trials that are read, the newest sweeps' first."""


@dataclass(frozen=True)
class FirstSteps:
    """The first steps of a HAMU variant's earlier trials."""

    free: tuple[float, ...]
    """The fraction of the available gain that cost the other objective nothing, of each trial."""
    sines: tuple[float, ...]
    """Of the gradients' angle."""


def first_steps(storage: StoragePath, method: str, runs: Iterable[RunConfig]) -> FirstSteps:
    """Return what the first steps of a method's earlier trials on the problems of ``runs`` left in their reports."""
    problems = [_problem(run.model_dump(mode="json")) for run in runs]
    files: list[StoragePath] = [*(storage / SWEEPS).glob(f"*/{TRIALS}/*/{RUN_FILE}")]
    files.sort(key=str, reverse=True)
    free, sines = [], []
    for path in islice(files, LOOKED_AT):
        document = yaml.safe_load(path.read_text())
        if document["method"]["name"] != method or _problem(document) not in problems:
            continue
        if not (path.parent / REPORTS_FILE).exists():
            continue
        histories = histories_of(read_reports(path.parent), (HARDNESS, GRADIENT_COSINE))
        if histories.get(HARDNESS):
            free.append(1 - histories[HARDNESS][min(histories[HARDNESS])])
            sines.append(first_sine(histories))
    return FirstSteps(tuple(free), tuple(sines))


def _problem(document: Mapping[str, Any]) -> list[Any]:
    return [document.get(section) for section in SECTIONS]
