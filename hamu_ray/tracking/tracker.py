"""The interface of experiment tracking: what a sweep records, independent of the store.

`MlflowTracker` writes to a store immediately; `Outbox` writes the same calls to a file, from which they are sent to a
store later.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Records one run per sweep and one nested run per trial.

    Runs are referred to by the ids that `start_sweep` and `start_trial` return, which callers treat as opaque. All
    arguments are plain data, so that every call can be serialised.
    """

    def batched(self) -> AbstractContextManager[None]:
        """Within, calls may be gathered and sent together, at the latest at the end; dropped after an error."""
        return nullcontext()

    def start_sweep(
        self, sweep: str, parameters: Mapping[str, Any], tags: Mapping[str, Any] | None = None
    ) -> str:
        """Start the run of a sweep, or reopen the one with that name; return its id."""
        ...

    def start_trial(
        self,
        trial: str,
        parent: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """Start the run of a trial, or reopen the existing one; return its id.

        Args:
            trial: the trial's name within the sweep.
            parent: id of the sweep's run.
            name: display name.
            parameters: flat or nested; nested keys become paths such as `optimizer.learning_rate`.
            tags: further tags.
        """
        ...

    def log_metrics(
        self, run: str, metrics: Mapping[str, float], step: int = 0, time_ms: int | None = None
    ) -> None:
        """Log one value of each metric at a step. ``time_ms`` is milliseconds since the epoch; None is now."""
        ...

    def log_history(
        self,
        run: str,
        history: Mapping[str, Sequence[float]],
        steps: Sequence[int],
        time_ms: int | None = None,
    ) -> None:
        """Log the values of metrics at several steps: each sequence has one value per entry of ``steps``."""
        ...

    def set_tags(self, run: str, tags: Mapping[str, Any]) -> None:
        """Set tags on a run."""
        ...

    def describe(self, run: str, markdown: str) -> None:
        """Set the description of a run."""
        ...

    def log_files(self, run: str, paths: Sequence[Path | str], artifact_path: str = "") -> None:
        """Copy files, and the contents of folders, to the folder ``artifact_path`` of a run's artifacts."""
        ...

    def share_view(self, run: str, identifier: str, name: str, state: Mapping[str, Any]) -> None:
        """Save a view (`hamu_ray.tracking.ui_views`) of the experiment that a run belongs to."""
        ...

    def log_data(self, run: str, source: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> None:
        """Record what a run was trained on.

        Args:
            run: id of the trial's run.
            source: where the data come from: the section of the configuration, with its ``name``.
            sets: ``digest`` and number of ``examples`` of each set by its role, ``retain`` or ``forget``.
        """
        ...

    def log_model(
        self, run: str, name: str, step: int, tags: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """List a model that a run made at a step, with its metrics; tags may change later."""
        ...

    def register_model(
        self,
        run: str,
        name: str,
        paths: Sequence[Path | str],
        tags: Mapping[str, Any],
        alias: str | None = None,
    ) -> None:
        """Log a model's files and register them as a version of the model ``name``, optionally with an alias."""
        ...

    def finish(self, run: str, status: str, reason: str = "", tags: Mapping[str, Any] | None = None) -> None:
        """End a run with the value of a `Status`."""
        ...
