"""Sweeps read back from MLflow: what a driver once recorded, from any store and long after the driver ended.

Nothing is written here. Runs that no sweep of this package made are passed over. What a listing of runs holds comes
at once; histories and files are asked for one run at a time.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from hamu_ray.config.sweep import SweepConfig, trials_of
from hamu_ray.results.folder import RECORD_FILE
from hamu_ray.results.front import Objective, Point
from hamu_ray.results.summary import DEFAULT_OBJECTIVES, SweepSummary, summarise
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tracking import store
from hamu_ray.tracking.client import QUIET
from hamu_ray.tracking.encoding import nested, value_of
from hamu_ray.tracking.trial_reader import ArchivedTrial, read_trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEP_ARTIFACT = "sweep.yaml"
PAGE = 1000
"""Runs that are read in one call."""


@dataclass(frozen=True)
class ArchivedSweep:
    """A sweep as its runs tell it."""

    archive: "Archive" = field(repr=False)
    name: str
    experiment: str
    run_id: str
    running: bool
    began: float
    """Seconds since the epoch."""
    ended: float
    """NaN while it runs."""
    document: dict[str, Any]
    """The resolved configuration as plain data."""
    config: SweepConfig | None
    """The same, checked; None where this version of the schema does not take it."""
    trials: tuple[ArchivedTrial, ...]
    original: dict[str, float]
    """Means of the original models' measures."""
    reference: dict[str, float]
    metrics: dict[str, float]
    """The sweep's own, such as `busy_share`."""

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """The trials' records, by their names."""
        return tuple(trial.record for trial in self.trials)

    @property
    def objectives(self) -> tuple[Objective, Objective]:
        """What the sweep optimised."""
        given = self.document.get("search", {}).get("objectives") or DEFAULT_OBJECTIVES
        first, second = (Objective(*one) if isinstance(one, tuple) else Objective(**one) for one in given)
        return first, second

    @property
    def expected(self) -> int | None:
        """How many trials the configuration asks for; None where it is not known."""
        return trials_of(self.config) if self.config else None

    def summary(self) -> SweepSummary:
        """Return the sweep's front, as it was when the sweep ended or is by now."""
        return summarise(self.records, self.objectives, self.original, self.reference)


class Archive:
    """The sweeps of an MLflow store."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self.uri = uri
        self._client = client

    @classmethod
    def open(cls, uri: str | None, storage_path: Path | str) -> "Archive":
        """Open a store to read; makes none where there is none.

        Args:
            uri: tracking URI; None takes `MLFLOW_TRACKING_URI`, or else a SQLite file in the storage path.
            storage_path: where that file is looked for.

        Raises:
            ValueError: in one line and within seconds, when there is no store or it cannot be read.
        """
        uri = store.store_uri(uri, Path(storage_path).expanduser().absolute())
        if uri.startswith(store.SQLITE) and not store.sqlite_file(uri).is_file():
            raise ValueError(f"there is no MLflow store {uri}; give the tracking URI of a sweep")
        store.probe(uri)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        with store.made_by_one(uri):
            return cls(MlflowClient(tracking_uri=uri), uri)

    def experiments(self) -> dict[str, str]:
        """Return the ids of the experiments by their names."""
        found: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_experiments(max_results=PAGE, page_token=token)
            found |= {experiment.name: experiment.experiment_id for experiment in page}
            token = page.token
            if not token:
                return found

    def names(self, experiment: str | None = None) -> list[str]:
        """Return the names of the sweeps, of one experiment or of all, the oldest first."""
        return [run.data.tags.get("sweep", run.info.run_name) for run, _ in self._parents(experiment)]

    def sweeps(self, experiment: str | None = None, name: str | None = None) -> list[ArchivedSweep]:
        """Return sweeps with all their trials, the oldest first: those of an experiment, or of a name, or all."""
        return [
            self._sweep(run, where)
            for run, where in self._parents(experiment)
            if name is None or name in (run.data.tags.get("sweep"), run.info.run_name)
        ]

    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """Return a metric's values by step; the last where a step was written twice."""
        found = self._client.get_metric_history(run_id, metric)
        return {m.step: m.value for m in sorted(found, key=lambda m: (m.step, m.timestamp))}

    def curve(self, run_id: str, objectives: Sequence[Objective]) -> dict[int, Point]:
        """Return two objectives at the steps where both were measured."""
        first, second = (self.history(run_id, objective.metric) for objective in objectives)
        return {step: (first[step], second[step]) for step in first if step in second}

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return the content of a run's file, or None where it cannot be had."""
        with tempfile.TemporaryDirectory(prefix="hamu_ray-") as folder:
            try:
                return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()
            except Exception:  # mlflow and every artifact store raise their own for what is not there
                return None

    def bases(self, run_id: str) -> tuple[dict[str, float], dict[str, float]]:
        """Return the measures of a trial's own original and reference models; empty where they were not kept."""
        content = self.artifact(run_id, RECORD_FILE)
        record = json.loads(content) if content else {}
        return record.get("original", {}), record.get("reference", {})

    def _parents(self, experiment: str | None) -> Iterator[tuple["Run", str]]:
        """Yield the runs of sweeps with the names of their experiments, the oldest first."""
        places = self.experiments()
        if experiment is not None:
            places = {experiment: places[experiment]} if experiment in places else {}
        names = {identity: name for name, identity in places.items()}
        runs = self._runs(list(names), "tags.kind = 'sweep'") if names else []
        for run in sorted(runs, key=lambda run: (run.info.start_time or 0, run.info.run_id)):
            yield run, names[run.info.experiment_id]

    def _runs(self, experiments: list[str], condition: str) -> Iterator["Run"]:
        """Yield the runs that meet a condition, page by page."""
        token = None
        while True:
            page = self._client.search_runs(experiments, condition, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _sweep(self, run: "Run", experiment: str) -> ArchivedSweep:
        document = self._document(run)
        config = _checked(document)
        children = self._runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        trials = [read_trial(child, document, config) for child in children if "trial" in child.data.tags]
        metrics = dict(run.data.metrics)
        return ArchivedSweep(
            archive=self,
            name=run.data.tags.get("sweep", run.info.run_name),
            experiment=experiment,
            run_id=run.info.run_id,
            running=run.info.status == "RUNNING",
            began=(run.info.start_time or math.nan) / 1000,
            ended=(run.info.end_time or math.nan) / 1000,
            document=document,
            config=config,
            trials=tuple(sorted(trials, key=lambda trial: trial.record.trial_id)),
            original=_with_prefix(metrics, "original."),
            reference=_with_prefix(metrics, "reference."),
            metrics={name: value for name, value in metrics.items() if "." not in name},
        )

    def _document(self, run: "Run") -> dict[str, Any]:
        """Return a sweep's configuration: its file, or what its parameters say where the file was not kept."""
        content = self.artifact(run.info.run_id, SWEEP_ARTIFACT)
        if content is not None:
            return dict(yaml.safe_load(content))
        flat = {name: value_of(text) for name, text in run.data.params.items()}
        space: dict[str, Any] = {}
        for name in [name for name in flat if name.startswith("space.")]:
            value = flat.pop(name)
            path, _, kind = name.removeprefix("space.").rpartition(".")
            if isinstance(value, list) and isinstance(value[0], dict):  # domains with conditions
                space[name.removeprefix("space.")] = value
            else:
                space[path] = {kind: value}
        return {**nested(flat), "space": space}


def _checked(document: Mapping[str, Any]) -> SweepConfig | None:
    try:
        return SweepConfig.model_validate(document)
    except ValidationError:  # written by another version
        return None


def _with_prefix(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
