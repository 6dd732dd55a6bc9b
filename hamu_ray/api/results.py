"""What a sweep or a run from Python gives back: the front, its models, and what was measured of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import (
    HARDNESS_FILE,
    MODEL_FILE,
    OUTCOME_FILE,
    RECORD_FILE,
    REPORTS_FILE,
    RUN_FILE,
)
from hamu_ray.results.pareto.summary import SweepSummary, method_of
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import number
from hamu_ray.selection.rules import Bound, best, floor_of, in_force, nearest_miss, relaxed
from hamu_ray.storage import StoragePath, storage_path, write_atomically

ABOUT_THE_RUN = {OUTCOME_FILE, HARDNESS_FILE, REPORTS_FILE, RECORD_FILE}
"""Files of a run's folder that are not of its model."""


@dataclass(frozen=True)
class UnlearnedModel:
    """An unlearned model: its metrics, the hyperparameters that gave it, and its files."""

    method: str
    parameters: Mapping[str, Any]
    """Sampled values by key path; of a single run its settings."""
    metrics: Mapping[str, float]
    folder: StoragePath
    """Where the run left the model."""
    status: str = "finished"
    reason: str = ""

    def save(self, folder: str | Path) -> Path:
        """Copy the model's weights, its model card and its configuration into a folder; return the folder."""
        target = Path(folder).expanduser()
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in ABOUT_THE_RUN:
                write_atomically(target / path.name, path.read_bytes())
        return target

    def load(self) -> nn.Module:
        """Return the model on the CPU, in eval mode."""
        run = load_run(str(self.folder / RUN_FILE))
        task = Resident(storage_path(run.storage.path), torch.device("cpu")).task(run)
        model = task.build_model(run.seed)
        load_model(model, self.folder / MODEL_FILE)
        return model.eval()


class Front(Sequence[UnlearnedModel]):
    """The Pareto front of a sweep, from the worst to the best first objective."""

    def __init__(self, summary: SweepSummary) -> None:
        """Show the front of a summary."""
        self._summary = summary

    def __len__(self) -> int:
        return len(self._summary.front)

    @overload
    def __getitem__(self, index: int) -> UnlearnedModel: ...

    @overload
    def __getitem__(self, index: slice) -> list[UnlearnedModel]: ...

    def __getitem__(self, index: int | slice) -> UnlearnedModel | list[UnlearnedModel]:
        if isinstance(index, slice):
            return [model_of(trial) for trial in self._summary.front[index]]
        return model_of(self._summary.front[index])

    def __iter__(self) -> Iterator[UnlearnedModel]:
        return map(model_of, self._summary.front)

    def __str__(self) -> str:
        table = front_table(self._summary)
        rows = [table.header, *table.rows, *table.anchors]
        widths = [max(len(row[i]) for row in rows) for i in range(len(table.header))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([table.title, *lines, table.caption])

    __repr__ = __str__

    @property
    def knee(self) -> UnlearnedModel | None:
        """The point from which gains in one objective cost most in the other; None of an empty front."""
        return None if self._summary.knee is None else model_of(self._summary.knee)

    def best(self, **bounds: float) -> UnlearnedModel:
        """Return the model of the front to take, as `python -m hamu_ray.select` does.

        Args:
            bounds: ``min_`` (of an objective to minimise: ``max_``) and an objective's name, such as
                ``min_retain_utility=0.9``. With one bound the best in the other objective is taken, without a bound
                the knee. The search's constraints hold unless another bound on the same metric is given.

        Raises:
            ValueError: A bound names no objective, or no point of the front keeps the bounds: in one line.
        """
        known = {_keyword(objective): objective for objective in self._summary.objectives}
        for name in bounds:
            if name not in known:
                raise ValueError(f"{name}: is no bound on an objective; take {' or '.join(known)}")
        given = [Bound(known[name], value) for name, value in bounds.items()]
        kept = in_force(self._summary, given)
        chosen = best(relaxed(self._summary, given), kept)
        if chosen is None:
            nearest = nearest_miss(relaxed(self._summary, floor_of(self._summary)), kept)
            if nearest is None:
                raise ValueError("the front is empty: no trial finished; see the statuses of result.trials")
            metrics = {bound.objective.metric for bound in kept}
            values = ", ".join(f"{metric} {number(nearest.measures[metric])}" for metric in sorted(metrics))
            raise ValueError(
                f"no point of the front keeps {' and '.join(map(str, kept))}; the nearest has {values}"
            )
        return model_of(chosen)


@dataclass(frozen=True)
class SweepOutput:
    """What a sweep found."""

    result: SweepResult
    """Everything that was recorded, as the report's page is made of."""
    folder: Path
    """The sweep's folder: configuration, records, front as table and picture."""
    report: Path | None
    """The report page, an HTML file that opens offline; None where there is none."""

    @property
    def front(self) -> Front:
        """The Pareto front of the finished trials."""
        return Front(self.result.summary)

    @property
    def trials(self) -> Sequence[TrialRecord]:
        """All trials, with their parameters, metrics, status and reason."""
        return self.result.trials

    @property
    def original(self) -> Mapping[str, float]:
        """Metrics of the original model."""
        return self.result.original

    @property
    def reference(self) -> Mapping[str, float]:
        """Metrics of the reference, which never saw the forget set."""
        return self.result.reference


def model_of(trial: TrialRecord) -> UnlearnedModel:
    """Return the model of a trial that has one."""
    return UnlearnedModel(
        method=method_of(trial),
        parameters=trial.parameters,
        metrics=trial.measures,
        folder=storage_path(trial.model_path).parent,
        status=str(trial.status),
        reason=trial.reason,
    )


def _keyword(objective: Objective) -> str:
    return f"{'min' if objective.maximise else 'max'}_{objective.metric}"
