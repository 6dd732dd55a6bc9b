"""The tables of where the trials of the page come from: their sweeps, and the provenance of their models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.wording import NONE, duration


@dataclass(frozen=True)
class SweepRow:
    """A row in the table of sweeps."""

    letter: str
    name: str
    experiment: str
    began: str
    took: str
    trials: str
    algorithm: str
    state: str


SHOWN_PROVENANCE = {
    "code": "code",
    "plugins": "plug-ins",
    "data": "data (SHA-256)",
    "forget_list": "list of examples to forget (SHA-256)",
    "original": "original model (SHA-256)",
    "reference": "reference (SHA-256)",
    "hardware": "hardware",
    "platform": "platform",
    "libraries": "libraries",
}
"""Headings of the labels of a provenance that the page's foot shows; those of single trials are in their folders."""


def provenance_rows(sweeps: Sequence[SweepResult]) -> list[tuple[str, list[str]]]:
    """Return where the models come from: each label with its distinct values over all trials."""
    trials = [trial for sweep in sweeps for trial in sweep.trials]
    rows = []
    for label, heading in SHOWN_PROVENANCE.items():
        values = dict.fromkeys(t.provenance[label] for t in trials if t.provenance.get(label))
        if values:
            rows.append((heading, list(values)))
    return rows


def sweep_rows(sweeps: Sequence[SweepResult], letters: Mapping[tuple[str, str], str]) -> list[SweepRow]:
    """Return a row for each sweep of the report."""
    rows = []
    for sweep in sweeps:
        over = sum(not trial.running for trial in sweep.trials)
        state = "running, or interrupted" if sweep.running else f"ended: {sweep.reason}".removesuffix(": ")
        began = math.isfinite(sweep.began)
        rows.append(
            SweepRow(
                letter=letters[sweep.key],
                name=sweep.name,
                experiment=sweep.experiment,
                began=f"{datetime.fromtimestamp(sweep.began, UTC):%Y-%m-%d %H:%M} UTC" if began else NONE,
                took=duration(sweep.ended - sweep.began),
                trials=f"{over} of {sweep.expected}" if sweep.expected else str(over),
                algorithm=str((sweep.document.get("search") or {}).get("algorithm", NONE)),
                state=state,
            )
        )
    return rows
