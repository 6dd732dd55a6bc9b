"""First-step hardness of earlier trials on the same problem, to assess a planned constraint."""

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
"""Config sections that define a problem: trials that agree in them start from equivalent original models."""

LOOKED_AT = 100
"""Maximum number of trials to read, those of the newest sweeps first."""


@dataclass(frozen=True)
class FirstSteps:
    """The first steps of a HAMU variant's earlier trials."""

    free: tuple[float, ...]
    """For each trial, the fraction of the available gain that cost the other objective nothing."""
    sines: tuple[float, ...]
    """Sine of the angle between the gradients, for each trial."""


def first_steps(storage: StoragePath, method: str, runs: Iterable[RunConfig]) -> FirstSteps:
    """Read the first steps of a method's earlier trials on the problems of ``runs`` from their reports."""
    problems = [_problem(run.model_dump(mode="json")) for run in runs]
    files: list[StoragePath] = [*(storage / SWEEPS).glob(f"*/{TRIALS}/*/{RUN_FILE}")]
    files.sort(key=str, reverse=True)
    free, sines = [], []
    for path in islice(files, LOOKED_AT):
        document = yaml.safe_load(path.read_text())
        if (
            document["method"]["name"] != method
            or _problem(document) not in problems
            or document.get("start")
        ):
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
