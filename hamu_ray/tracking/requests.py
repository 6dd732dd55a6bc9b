"""Metrics, parameters and tags of a run go to MLflow together, because each request costs a server time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

ITEMS_PER_REQUEST = 1000
PARAMETERS_PER_REQUEST = 100
TAGS_PER_REQUEST = 100
"""Limits of MLflow: of all items of a request, and of those of a kind."""


@dataclass
class Batch:
    """What was logged of a run and is not sent yet."""

    metrics: list["Metric"] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        metrics: Sequence["Metric"] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add what is logged. Of two values of a tag, the later one counts."""
        self.metrics += metrics
        self.parameters |= parameters or {}
        self.tags |= tags or {}

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `MlflowClient.log_batch`, as few times as its limits allow."""
        from mlflow.entities import Param, RunTag

        params = [Param(key, value) for key, value in self.parameters.items()]
        tags = [RunTag(key, value) for key, value in self.tags.items()]
        metrics = self.metrics
        while params or tags or metrics:
            left = ITEMS_PER_REQUEST - len(params[:PARAMETERS_PER_REQUEST]) - len(tags[:TAGS_PER_REQUEST])
            yield {
                "params": params[:PARAMETERS_PER_REQUEST],
                "tags": tags[:TAGS_PER_REQUEST],
                "metrics": metrics[:left],
            }
            params, tags = params[PARAMETERS_PER_REQUEST:], tags[TAGS_PER_REQUEST:]
            metrics = metrics[left:]


class Requests:
    """Sends what is logged of runs, in few requests."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self.artifact_uris: dict[str, str] = {}
        """Where the files of runs are written, as far as known."""
        self._client = client
        self._uri = uri
        self._batches: dict[str, Batch] | None = None
        """What is not sent yet, by runs; None outside `batched`."""

    @contextmanager
    def batched(self) -> Iterator[None]:
        """Within, what is logged of a run is sent with `send`, or at the end; after an error it is dropped."""
        self._batches = {}
        try:
            yield
            for run in list(self._batches):
                self.send(run)
        finally:
            self._batches = None

    def log(self, run: str, **items: Any) -> None:
        """Log items of a run (see `Batch.add`), now or with others."""
        if self._batches is not None:
            self._batches.setdefault(run, Batch()).add(**items)
            return
        batch = Batch()
        batch.add(**items)
        self._request(run, batch)

    def send(self, run: str) -> None:
        """Send what is not sent yet of a run."""
        if self._batches is not None and run in self._batches:
            self._request(run, self._batches.pop(run))

    def search(self, experiment_id: str, condition: str) -> Iterator["Run"]:
        """Yield the runs of an experiment that match a filter."""
        token = None
        while True:
            page = self._client.search_runs([experiment_id], condition, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def artifacts(self, run: str) -> Any:
        """Return the repository of a run's files; the server is asked once where it is."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if run not in self.artifact_uris:
            self.artifact_uris[run] = self._client.get_run(run).info.artifact_uri
        return get_artifact_repository(self.artifact_uris[run], tracking_uri=self._uri)

    def _request(self, run: str, batch: Batch) -> None:
        for arguments in batch.requests():
            self._client.log_batch(run, **arguments)
