"""MLflow, written by the driver alone: one parent run a sweep, one nested run a trial.

Everything goes through one `MlflowClient`, never through the fluent API: so no active run, no thread and no
`MLFLOW_RUN_ID` of the surroundings decides where a number lands. Callers hold run ids as opaque strings, and
all that is written is plain data, so that calls can be put in a queue.

mlflow is imported when a store is opened and not before: its import takes seconds, reads the variables set in
`QUIET`, and is not worth waiting for when the server is down.
"""

import getpass
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hamu_ray.config.credentials import without_credentials
from hamu_ray.results.trial import Status
from hamu_ray.storage import local_copy, storage_path
from hamu_ray.tracking import model_versions, store, ui_views
from hamu_ray.tracking.encoding import (
    PARAMETER_LENGTH,
    TAG_LENGTH,
    cut,
    flatten,
    metric_name,
    tag_texts,
    text,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
"""Environment of mlflow unless set otherwise: it calls nobody, is silent, gives up within a minute."""

METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
COLOUR = "mlflow.runColor"
"""The tag of a run's colour in the UI's charts."""
RUN, EXPERIMENT = "{run_id}", "{experiment_id}"
"""Stand for the ids in a description."""
MODEL_FOLDER = "model"
"""Where a run's artifacts hold a registered model."""

RUN_STATUS = {
    Status.FINISHED: "FINISHED",
    Status.COLLAPSED: "FAILED",
    Status.FAILED: "FAILED",
    Status.INFEASIBLE: "KILLED",
    Status.INTERRUPTED: "KILLED",
    Status.PRUNED: "KILLED",
}
"""MLflow's run status: FINISHED for those that can stand on the front; the tag `status` says it all."""

Item = TypeVar("Item")


class Tracking:
    """An experiment in an MLflow store. Made by `Tracking.open`."""

    def __init__(self, client: "MlflowClient", uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self._client = client

    @classmethod
    def open(cls, uri: str | None, experiment: str, storage_path: Path | str) -> "Tracking":
        """Open an experiment, making the store and the experiment where they do not exist.

        Args:
            uri: tracking URI; None takes `MLFLOW_TRACKING_URI`, or else a SQLite file in the storage path.
            experiment: the experiment's name.
            storage_path: where that file goes, and the artifacts of every store but a server.

        Raises:
            ValueError: in one line and within seconds, when the store cannot be reached or written.
        """
        storage_path = Path(storage_path).expanduser().absolute()
        uri = store.store_uri(uri, storage_path)
        store.probe(uri)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # two lines for every new database
        artifacts = None if store.is_server(uri) else storage_path / "artifacts"
        try:
            if artifacts is not None:
                artifacts.mkdir(parents=True, exist_ok=True)
            with store.made_by_one(uri):
                client = MlflowClient(tracking_uri=uri)
                experiment_id = _find_or_create(client, experiment, artifacts)
        except Exception as error:  # mlflow, sqlalchemy and drivers each raise their own
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            where = f"MLflow experiment {experiment!r} in {store.shown(uri)}"
            raise ValueError(f"cannot open {where}: {without_credentials(reason[0])}") from error
        return cls(client, uri, experiment_id)

    def start_sweep(
        self, sweep: str, parameters: Mapping[str, Any], tags: Mapping[str, Any] | None = None
    ) -> str:
        """Start a sweep's run, or take it up where there is one of that name; return its id."""
        found = self._find(f"tags.sweep = '{sweep}' and tags.kind = 'sweep'")
        if found is not None:
            self._client.update_run(found, status="RUNNING")
            return found
        return self._start(sweep, parameters, {"kind": "sweep", "sweep": sweep, **(tags or {})})

    def start_trial(
        self,
        trial: str,
        parent: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a trial's run, nested in the sweep's, or take it up where there is one; return its id.

        Args:
            trial: what the sweep calls it, kept as the tag `trial`.
            parent: run id of the sweep.
            name: shown in the UI.
            parameters: flat or nested; nested keys become paths such as `optimizer.learning_rate`.
            tags: more of them.
        """
        own = {"kind": "trial", "trial": trial, "mlflow.parentRunId": parent}
        found = self._find(f"tags.trial = '{trial}' and tags.`mlflow.parentRunId` = '{parent}'")
        return found or self._start(name, parameters, {**own, **(tags or {})})

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], step: int = 0, time_ms: int | None = None
    ) -> None:
        """Write one value each of some metrics."""
        self.log_history(run_id, {name: [value] for name, value in metrics.items()}, [step], time_ms)

    def log_history(
        self,
        run_id: str,
        history: Mapping[str, Sequence[float]],
        steps: Sequence[int],
        time_ms: int | None = None,
    ) -> None:
        """Write metrics of many steps in as few calls as MLflow allows, as of a time (epoch; default: now).

        Written again with the same time, a value is there once.

        NaN is kept as NaN. An infinite value becomes NaN as well: SQL stores would turn it into 1.8e308, and
        every chart with it into a flat line.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000) if time_ms is None else time_ms
        metrics = (
            Metric(metric_name(name), float(value) if math.isfinite(value) else math.nan, now, int(step))
            for name, values in history.items()
            for step, value in zip(steps, values, strict=True)
        )
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags on a run; long values are cut."""
        from mlflow.entities import RunTag

        entities = (RunTag(metric_name(key), value) for key, value in tag_texts(tags).items())
        for batch in _batches(entities, PARAMETERS_PER_BATCH):
            self._client.log_batch(run_id, tags=batch)

    def describe(self, run_id: str, markdown: str) -> None:
        """Set the description that the UI shows, with this run's ids for `RUN` and `EXPERIMENT`.

        One that is too long is cut, and kept whole as a file.
        """
        markdown = markdown.replace(RUN, run_id).replace(EXPERIMENT, self.experiment_id)
        if len(markdown) > TAG_LENGTH:
            self._client.log_text(run_id, markdown, "description.md")
            note = "\n\n(Cut here: the whole text is the artifact description.md.)\n"
            markdown = markdown[: TAG_LENGTH - len(note)].rpartition("\n")[0] + note
        self._client.set_tag(run_id, "mlflow.note.content", markdown)

    def log_files(
        self, run_id: str, paths: Path | str | Sequence[Path | str], artifact_path: str = ""
    ) -> None:
        """Copy files, and what folders hold, to a run's artifacts, into the folder `artifact_path` there."""
        for path in [paths] if isinstance(paths, str | Path) else paths:
            place = storage_path(path)
            if place.is_dir():
                self._client.log_artifacts(run_id, str(place), artifact_path or None)
                continue
            with local_copy(place) as copy:
                self._client.log_artifact(run_id, str(copy), artifact_path or None)

    def share_view(self, run_id: str, identifier: str, name: str, state: Mapping[str, Any]) -> None:
        """Save a view (`hamu_ray.tracking.ui_views`) in the experiment of a run, unless it is there as it is."""
        tag = ui_views.TAG + identifier
        there = self._client.get_experiment(self.experiment_id).tags.get(tag)
        if there is None or ui_views.unpack(there) != (name, state):
            value = ui_views.pack(name, state, int(time.time() * 1000))
            self._client.set_experiment_tag(self.experiment_id, tag, value)

    def register_model(
        self,
        run_id: str,
        name: str,
        paths: Sequence[Path | str],
        tags: Mapping[str, Any],
        alias: str | None = None,
    ) -> None:
        """Keep a model's files with its run, as a version of a registered model, which an alias may point to."""
        self.log_files(run_id, paths, MODEL_FOLDER)
        version = model_versions.register(self._client, name, run_id, MODEL_FOLDER, tag_texts(tags))
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, version)

    def finish(
        self, run_id: str, status: str, reason: str = "", tags: Mapping[str, Any] | None = None
    ) -> None:
        """End a run with a `Status`, in the tags `status` and `reason`."""
        self.set_tags(run_id, {"status": status, "reason": reason, **(tags or {})})
        self._client.set_terminated(run_id, RUN_STATUS[Status(status)])

    def ui_command(self) -> str:
        """Return the shell command that opens the MLflow UI on this store."""
        return store.ui_command(self.uri, self.experiment_id)

    def view_link(self, identifier: str) -> str:
        """Return the address at which that UI shows a saved view."""
        return ui_views.link(store.ui_address(self.uri), self.experiment_id, identifier)

    def _find(self, condition: str) -> str | None:
        """Return the id of the experiment's run that meets a condition, if there is one."""
        runs = self._client.search_runs([self.experiment_id], condition, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _start(self, name: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        system = {
            "mlflow.runName": name,
            "mlflow.user": _user(),
            "mlflow.source.name": Path(sys.argv[0]).name or "python",
            "mlflow.source.type": "LOCAL",
        }
        texts = tag_texts({**system, **tags})
        run_id: str = self._client.create_run(self.experiment_id, tags=texts, run_name=name).info.run_id
        values = {metric_name(key): text(value) for key, value in flatten(parameters).items()}
        entities = (Param(key, cut(value, PARAMETER_LENGTH)) for key, value in values.items())
        for batch in _batches(entities, PARAMETERS_PER_BATCH):
            self._client.log_batch(run_id, params=batch)
        long = {key: value for key, value in values.items() if len(value) > PARAMETER_LENGTH}
        if long:
            self._client.log_dict(run_id, long, "long_parameters.json")
        return run_id


def _find_or_create(client: "MlflowClient", name: str, artifacts: Path | None) -> str:
    """Return the experiment's id. Another process may create it at the same moment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts.as_uri() if artifacts else None))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise ValueError(f"it was deleted; take another name, or: {remedy}")
    return str(found.experiment_id)


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
