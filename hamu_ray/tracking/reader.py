"""Sweeps read back from MLflow, from any store and long after their drivers have ended.

Nothing is written here, and runs that were not created by this package are ignored. A listing of runs gives the result
of a sweep in a few requests; histories and files are read for one trial at a time, with `MlflowSource`.
"""

import logging
import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.document import ConfigError, first_line, parse_document
from hamu_ray.config.sources.key_paths import nested
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import RECORD_FILE, RUN_FILE, SWEEP_FILE, load_record, rerun_command
from hamu_ray.results.outcome import Status
from hamu_ray.results.recorded_run import RecordedRun, record_of, result_of
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord, step_of, trial_of
from hamu_ray.tracking import store
from hamu_ray.tracking.encoding import value_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 1000
"""Runs per request."""

logger = logging.getLogger(__name__)


class MlflowReader:
    """Reads the sweeps of an MLflow store."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self.uri = uri
        self._client = client

    @classmethod
    def open(cls, uri: str | None, storage_path: Path | str) -> "MlflowReader":
        """Open an existing store for reading.

        Args:
            uri: tracking URI; None uses `MLFLOW_TRACKING_URI`, or a SQLite file in the storage path.
            storage_path: folder of that file.

        Raises:
            ValueError: there is no store, or it cannot be read. One line, raised within seconds.
        """
        uri = store.store_uri(uri, Path(storage_path).expanduser().absolute())
        if uri.startswith(store.SQLITE) and not store.sqlite_file(uri).is_file():
            raise ValueError(f"there is no MLflow store {uri}; give the tracking URI of a sweep")
        store.probe(uri)
        store.quieten()
        from mlflow import MlflowClient

        try:
            with store.made_by_one(uri):
                return cls(MlflowClient(tracking_uri=uri), uri)
        except Exception as error:  # mlflow, sqlalchemy and drivers raise different types
            reason = without_credentials(first_line(error))
            raise ValueError(f"cannot open the MLflow store {store.shown(uri)}: {reason}") from error

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
        """Return the names of the sweeps of one experiment or of all, the oldest first."""
        return [_name(run) for run, _ in self._parents(experiment)]

    def sweeps(self, experiment: str | None = None, name: str | None = None) -> list[SweepResult]:
        """Return the sweeps of one experiment or of all, or those with a name, the oldest first."""
        return [
            self._sweep(run, where)
            for run, where in self._parents(experiment)
            if name is None or name in (run.data.tags.get("sweep"), run.info.run_name)
        ]

    def _parents(self, experiment: str | None) -> Iterator[tuple["Run", str]]:
        """Yield the runs of sweeps with the names of their experiments, the oldest first."""
        places = self.experiments()
        if experiment is not None:
            places = {experiment: places[experiment]} if experiment in places else {}
        runs = self._runs(list(places.values()), "tags.kind = 'sweep'") if places else []
        names = {identity: name for name, identity in places.items()}
        for run in sorted(runs, key=lambda run: (run.info.start_time or 0, run.info.run_id)):
            yield run, names[run.info.experiment_id]

    def _runs(self, experiments: list[str], condition: str) -> Iterator["Run"]:
        """Yield the runs that match a filter, page by page."""
        token = None
        while True:
            page = self._client.search_runs(experiments, condition, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _sweep(self, run: "Run", experiment: str) -> SweepResult:
        document = self._document(run)
        config = _validated(document)
        children = self._runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        trials, run_ids = [], {}
        for child in children:
            name = child.data.tags.get("trial")
            if name is not None:
                trials.append(record_of(_recorded(child, name), document, config))
                run_ids[name] = child.info.run_id
        source = MlflowSource(self._client, self.uri, run_ids, _name(run))
        return result_of(_recorded(run, _name(run)), trials, document, experiment, source)

    def _document(self, run: "Run") -> dict[str, Any]:
        """Return a sweep's configuration from its file, or from its parameters if the file was not kept."""
        content = read_artifact(self._client, run.info.run_id, SWEEP_FILE)
        try:
            if content is not None:
                return parse_document(content, f"{SWEEP_FILE} of {_name(run)}")
        except ConfigError as error:
            logger.warning("%s; its parameters count", error)
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


@dataclass(frozen=True)
class MlflowSource:
    """Reads single trials of a sweep from MLflow."""

    client: "MlflowClient" = field(repr=False)
    uri: str
    run_ids: Mapping[str, str]
    """Of the trials, by their names."""
    sweep: str
    """The sweep's name."""

    @property
    def address(self) -> str:
        """The tracking URI without credentials."""
        return store.shown(self.uri)

    def record(self, trial: str) -> TrialRecord | None:
        """Return the record that the driver logged at the end of the sweep, also as that of a trial's point."""
        name = trial_of(trial)
        content = self.file(name, RECORD_FILE)
        return load_record(content, f"{RECORD_FILE} of trial {name}").candidate(trial) if content else None

    def history(self, trial: str, metric: str) -> dict[int, float]:
        """Return the values of a metric by step, of a point until its own; the last one if a step was logged twice."""
        found = self.client.get_metric_history(self.run_id(trial), metric)
        last = step_of(trial) or math.inf
        return {m.step: m.value for m in sorted(found, key=lambda m: (m.step, m.timestamp)) if m.step <= last}

    def file(self, trial: str, name: str) -> bytes | None:
        """Return the content of an artifact of a trial's run; those of a point are in a folder with its name."""
        path = name if step_of(trial) is None else f"{trial}/{name}"
        return read_artifact(self.client, self.run_id(trial), path)

    def run_id(self, trial: str) -> str:
        """Return the id of a trial's run, or of the one that a point belongs to."""
        return self.run_ids[trial_of(trial)]

    def rerun_command(self, trial: str) -> str:
        """Return the commands that download a trial's configuration and run it again."""
        fetch = ["mlflow", "artifacts", "download", "-r", self.run_id(trial), "-a", RUN_FILE, "-d", "."]
        uri, step = shlex.quote(self.address), step_of(trial)
        until = f" --set stop.after_steps={step} --set stop.rewind=null" if step else ""
        return f"MLFLOW_TRACKING_URI={uri} {shlex.join(fetch)}\n{rerun_command(RUN_FILE, self.sweep, trial)}{until}"


def read_artifact(client: "MlflowClient", run_id: str, path: str) -> bytes | None:
    """Return the content of an artifact, or None if it cannot be read."""
    with tempfile.TemporaryDirectory(prefix="hamu_ray-") as folder:
        try:
            return Path(client.download_artifacts(run_id, path, folder)).read_bytes()
        except Exception:  # mlflow and its artifact stores raise many unrelated types for a missing file
            return None


def _name(run: "Run") -> str:
    """Return the name of a sweep's run."""
    return str(run.data.tags.get("sweep", run.info.run_name))


def _recorded(run: "Run", name: str) -> RecordedRun:
    """Return a run as plain data. MLflow's status FAILED is used if the tag `status` is missing."""
    tags = dict(run.data.tags)
    if run.info.status == "FAILED" and tags.get("status") not in set(Status):
        tags["status"] = Status.FAILED.value
    return RecordedRun(
        name=name,
        parameters={path: value_of(text) for path, text in run.data.params.items()},
        metrics=dict(run.data.metrics),
        tags=tags,
        running=run.info.status == "RUNNING",
        began=(run.info.start_time or math.nan) / 1000,
        ended=(run.info.end_time or math.nan) / 1000,
    )


def _validated(document: Mapping[str, Any]) -> SweepConfig | None:
    try:
        return SweepConfig.model_validate(document)
    except ValidationError:  # written by another version
        return None
