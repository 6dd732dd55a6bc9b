"""Runs that take a fraction of a second: a few steps on the digits, from base models trained once per session."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.loop import OnReport
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report, Verdict
from hamu_ray.results.pareto.trajectory import Keeping

CHEAP: Mapping[str, Any] = {
    "training": {
        "epochs": 6,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "schedule": "cosine"},
    },
    "batch": {"retain": 48, "forget": 48},
    "duration": {"steps": 4},
    "evaluation": {"every_steps": 100},
    "optimizer": {"learning_rate": 1e-3},
    "workers": {"count": 1},
}


def cheap_run(**sections: Any) -> RunConfig:
    """Return a cheap run with these sections changed; ``None`` removes a section."""
    document = dict(CHEAP)
    for name, values in sections.items():
        known = document.get(name)
        document[name] = {**known, **values} if isinstance(known, dict) else values
    return RunConfig.model_validate({name: value for name, value in document.items() if value is not None})


@dataclass
class ReportList:
    """A callback that keeps all reports, and stops (or raises) at a step of unlearning."""

    enough_at: int | None = None
    dies_at: int | None = None
    reports: list[Report] = field(default_factory=list)

    def __call__(self, report: Report) -> Verdict:
        self.reports.append(report)
        if report.phase == "unlearning" and report.step == self.dies_at:
            raise ConnectionError("the listener died")
        enough = report.phase == "unlearning" and report.step == self.enough_at
        return Verdict.INTERRUPT if enough else Verdict.GO_ON

    def of(self, phase: str) -> Iterator[Report]:
        return (report for report in self.reports if report.phase == phase)

    @property
    def history(self) -> dict[str, list[float]]:
        """Diagnostics of all steps by name."""
        columns: dict[str, list[float]] = {"step": []}
        for report in self.of("unlearning"):
            columns["step"] += report.history_steps
            for name, values in report.history.items():
                columns.setdefault(name, []).extend(values)
        return columns


@dataclass
class Done:
    """A completed run."""

    outcome: Outcome
    recorder: ReportList
    folder: Path

    @property
    def weights(self) -> dict[str, Tensor]:
        return load_tensors(self.folder / MODEL_FILE)[0]


def done(
    run: RunConfig,
    resident: Resident,
    folder: Path,
    recorder: OnReport | None = None,
    pauses: Sequence[int] = (),
    keeping: Keeping | None = None,
) -> Done:
    """Run in this process, without a group."""
    recorder = recorder or ReportList()
    assert isinstance(recorder, ReportList)
    return Done(unlearn(run, resident, Alone(), folder, recorder, pauses, keeping), recorder, folder)


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether all tensors are bitwise equal."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)
