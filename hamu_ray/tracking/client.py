"""The MLflow tracker: one parent run per sweep, one nested run per trial. Only the driver writes.

All calls go through one `MlflowClient`, never through the fluent API, so that active runs, threads and `MLFLOW_RUN_ID`
in the environment cannot change which run is logged to.

mlflow is imported only when a store is opened: the import takes seconds and reads environment variables
(`store.quieten`), and it is not needed while the server is down.
"""

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.results.trial import Status
from hamu_ray.storage import local_copy, storage_path
from hamu_ray.tracking import access, data_sets, logged_models, store, ui_views
from hamu_ray.tracking.encoding import (
    PARAMETER_LENGTH,
    TAG_LENGTH,
    cut,
    metric_name,
    tag_texts,
    text,
)
from hamu_ray.tracking.requests import Requests
from hamu_ray.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FILE_SECONDS, SERVER_SECONDS = 0.5, 10.0
"""Pauses between deliveries to a file and to a server."""
COMMIT = "mlflow.source.git.commit"
"""MLflow's tag for the commit of the code, shown on a run's page."""
COLOUR = "mlflow.runColor"
"""Tag: the colour of a run in the charts of the UI."""
RUN, EXPERIMENT = "{run_id}", "{experiment_id}"
"""Placeholders for the ids in a description."""
MODEL_FOLDER = "model"
"""Artifact folder of a run's registered model."""

RUN_STATUS = {
    Status.FINISHED: "FINISHED",
    Status.COLLAPSED: "FAILED",
    Status.FAILED: "FAILED",
    Status.INFEASIBLE: "KILLED",
    Status.INTERRUPTED: "KILLED",
    Status.PRUNED: "KILLED",
}
"""MLflow's run status: FINISHED for trials that can be on the front. The tag `status` contains the exact `Status`."""


class MlflowTracker(Tracker):
    """A `Tracker` that writes to an experiment of an MLflow store. Created by `MlflowTracker.open`."""

    def __init__(self, client: "MlflowClient", uri: str, experiment_id: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        self.experiment_id = experiment_id
        self._client = client
        self._requests = Requests(client, uri)
        self._trials: dict[str, dict[str, Run]] = {}
        """The runs of the trials of a sweep's run, by their names."""

    @classmethod
    def open(cls, uri: str | None, experiment: str, storage_path: Path | str) -> "MlflowTracker":
        """Open an experiment; create the store and the experiment if they do not exist.

        Args:
            uri: tracking URI; None uses `MLFLOW_TRACKING_URI`, or a SQLite file in the storage path.
            experiment: the experiment's name.
            storage_path: folder of that file, and of the artifacts of every store other than a server.

        Raises:
            ValueError: the store cannot be reached or written. One line, raised within seconds.
        """
        storage_path = Path(storage_path).expanduser().absolute()
        uri = store.store_uri(uri, storage_path)
        store.probe(uri)
        store.quieten()
        from mlflow import MlflowClient

        # It logs two lines for every new database, and a traceback for every error that it raises as well.
        logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
        artifacts = None if store.is_server(uri) else storage_path / "artifacts"
        try:
            if artifacts is not None:
                artifacts.mkdir(parents=True, exist_ok=True)
            with store.made_by_one(uri):
                client = MlflowClient(tracking_uri=uri)
                experiment_id = access.find_or_create(client, experiment, artifacts)
        except Exception as error:  # mlflow, sqlalchemy and drivers raise many unrelated types
            raise access.cannot("open", experiment, uri, error) from error
        return cls(client, uri, experiment_id, experiment)

    def check_writable(self) -> None:
        """Write a run to the server and delete it; other stores were written when they were opened.

        Raises:
            ValueError: The server refuses it. One line with the remedy.
        """
        if store.is_server(self.uri):
            try:
                access.write_and_delete(self._client, self.experiment_id)
            except Exception as error:  # mlflow and requests raise many unrelated types
                raise access.cannot("write to", self.experiment, self.uri, error) from error

    def batched(self) -> AbstractContextManager[None]:
        """See `Requests.batched`."""
        return self._requests.batched()

    def start_sweep(
        self, sweep: str, parameters: Mapping[str, Any], tags: Mapping[str, Any] | None = None
    ) -> str:
        """Start the run of a sweep, or reopen the one with that name; return its id."""
        found = next(
            self._requests.search(self.experiment_id, f"tags.sweep = '{sweep}' and tags.kind = 'sweep'"), None
        )
        if found is not None:
            self._client.update_run(found.info.run_id, status="RUNNING")
        tags = {"kind": "sweep", "sweep": sweep, **(tags or {})}
        return self._start(found, sweep, parameters, tags).info.run_id

    def start_trial(
        self,
        trial: str,
        parent: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """Start the run of a trial, nested in the sweep's, or reopen the one of that trial; return its id.

        Args:
            trial: the trial's name within the sweep, stored as the tag `trial`.
            parent: id of the sweep's run.
            name: display name in the UI.
            parameters: flat or nested; nested keys become paths such as `optimizer.learning_rate`.
            tags: further tags.
        """
        if parent not in self._trials:  # one search for all of them; others do not write them
            runs = self._requests.search(
                self.experiment_id, f"tags.kind = 'trial' and tags.`mlflow.parentRunId` = '{parent}'"
            )
            self._trials[parent] = {run.data.tags["trial"]: run for run in runs}
        known = self._trials[parent]
        tags = {"kind": "trial", "trial": trial, "mlflow.parentRunId": parent, **(tags or {})}
        known[trial] = self._start(known.get(trial), name, parameters, tags)
        return known[trial].info.run_id

    def log_metrics(
        self, run: str, metrics: Mapping[str, float], step: int = 0, time_ms: int | None = None
    ) -> None:
        """Log one value of each metric at a step."""
        self.log_history(run, {name: [value] for name, value in metrics.items()}, [step], time_ms)

    def log_history(
        self,
        run: str,
        history: Mapping[str, Sequence[float]],
        steps: Sequence[int],
        time_ms: int | None = None,
    ) -> None:
        """Log the values of metrics at several steps.

        Values logged again with the same time are stored once. NaN stays NaN; an infinite value becomes NaN as well,
        because SQL stores would turn it into 1.8e308, which makes every chart a flat line.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000) if time_ms is None else time_ms
        metrics = [
            Metric(metric_name(name), float(value) if math.isfinite(value) else math.nan, now, int(step))
            for name, values in history.items()
            for step, value in zip(steps, values, strict=True)
        ]
        self._requests.log(run, metrics=metrics)

    def set_tags(self, run: str, tags: Mapping[str, Any]) -> None:
        """Set tags on a run; long values are truncated."""
        self._requests.log(run, tags={metric_name(key): value for key, value in tag_texts(tags).items()})

    def describe(self, run: str, markdown: str) -> None:
        """Set the description that the UI shows, with the ids of the run in place of `RUN` and `EXPERIMENT`.

        A description that is too long is truncated, and logged in full as a file.
        """
        markdown = markdown.replace(RUN, run).replace(EXPERIMENT, self.experiment_id)
        if len(markdown) > TAG_LENGTH:
            self._client.log_text(run, markdown, "description.md")
            note = "\n\n(Truncated: the full text is in the artifact description.md.)\n"
            markdown = markdown[: TAG_LENGTH - len(note)].rpartition("\n")[0] + note
        self._client.set_tag(run, "mlflow.note.content", markdown)

    def log_files(self, run: str, paths: Path | str | Sequence[Path | str], artifact_path: str = "") -> None:
        """Copy files, and the contents of folders, to the folder ``artifact_path`` of a run's artifacts."""
        for path in [paths] if isinstance(paths, str | Path) else paths:
            place = storage_path(path)
            if place.is_dir():
                self._requests.artifacts(run).log_artifacts(str(place), artifact_path or None)
                continue
            with local_copy(place) as copy:
                self._requests.artifacts(run).log_artifact(str(copy), artifact_path or None)

    def share_view(self, run: str, identifier: str, name: str, state: Mapping[str, Any]) -> None:
        """Save a view (`hamu_ray.tracking.ui_views`) in the experiment, unless it exists unchanged."""
        tag = ui_views.TAG + identifier
        there = self._client.get_experiment(self.experiment_id).tags.get(tag)
        if there is None or ui_views.unpack(there) != (name, state):
            value = ui_views.pack(name, state, int(time.time() * 1000))
            self._client.set_experiment_tag(self.experiment_id, tag, value)

    def log_data(self, run: str, source: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> None:
        """Record what a run was trained on, as MLflow's data sets with their roles for contexts."""
        self._client.log_inputs(run, data_sets.inputs(source, sets))

    def log_model(
        self, run: str, name: str, step: int, tags: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """List a model of a run, once, with its metrics; set its tags. An infinite value becomes NaN."""
        self._requests.send(run)
        values = {
            metric_name(key): float(value) if math.isfinite(value) else math.nan
            for key, value in metrics.items()
        }
        logged_models.log(self._client, self._client.get_run(run), name, step, tag_texts(tags), values)

    def register_model(
        self,
        run: str,
        name: str,
        paths: Sequence[Path | str],
        tags: Mapping[str, Any],
        alias: str | None = None,
    ) -> None:
        """Log a model's files and register them as a version of the model ``name``, optionally with an alias."""
        self.log_files(run, paths, MODEL_FOLDER)
        version = logged_models.register(self._client, name, run, MODEL_FOLDER, tag_texts(tags))
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, version)

    def finish(self, run: str, status: str, reason: str = "", tags: Mapping[str, Any] | None = None) -> None:
        """End a run, with the tags `status` and `reason`."""
        self.set_tags(run, {"status": status, "reason": reason, **(tags or {})})
        self._requests.send(run)
        self._client.set_terminated(run, RUN_STATUS[Status(status)])

    @property
    def send_seconds(self) -> float:
        """Pause between deliveries: long for a server, so that a trial's calls are few requests."""
        return SERVER_SECONDS if store.is_server(self.uri) else FILE_SECONDS

    @property
    def store(self) -> str:
        """What run ids are unique in: the tracking URI without credentials, and the experiment."""
        return f"{store.shown(self.uri)} {self.experiment_id}"

    def ui_command(self) -> str:
        """Return the shell command that opens the MLflow UI on this store."""
        return store.ui_command(self.uri, self.experiment_id)

    def view_link(self, identifier: str) -> str:
        """Return the address of a saved view in that UI."""
        return ui_views.link(store.ui_address(self.uri), self.experiment_id, identifier)

    def _start(
        self, found: "Run | None", name: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> "Run":
        """Create a run unless it was found, and log its parameters unless it has them."""
        system = {
            "mlflow.runName": name,
            "mlflow.user": access.user_name(),
            "mlflow.source.name": Path(sys.argv[0]).name or "python",
            "mlflow.source.type": "LOCAL",
        }
        texts = tag_texts({**system, **tags})
        run = found or self._client.create_run(self.experiment_id, tags=texts, run_name=name)
        run_id = run.info.run_id
        self._requests.artifact_uris[run_id] = run.info.artifact_uri
        if run.data.params:
            return run
        values = {metric_name(key): text(value) for key, value in flatten(parameters).items()}
        self._requests.log(
            run_id, parameters={key: cut(value, PARAMETER_LENGTH) for key, value in values.items()}
        )
        long = {key: value for key, value in values.items() if len(value) > PARAMETER_LENGTH}
        if long:
            self._client.log_dict(run_id, long, "long_parameters.json")
        return run
