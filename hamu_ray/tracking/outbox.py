"""A transactional outbox in front of the tracking store: while the store is down, records are delayed, never lost.

`Outbox` appends each tracking call to a file in the sweep's folder. `hamu_ray.tracking.delivery` delivers them.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.results.durable.append_log import AppendLog, read_log
from hamu_ray.results.folder import OUTBOX_FILE
from hamu_ray.results.recorded_run import TOTAL_STEPS
from hamu_ray.tracking.tracker import Tracker

Start = Literal["start_sweep", "start_trial"]
"""Calls that return the id of a run."""
Call = Literal[
    "log_metrics",
    "log_history",
    "set_tags",
    "describe",
    "log_files",
    "share_view",
    "log_data",
    "log_model",
    "register_model",
    "finish",
]
"""Calls on a run that was started before."""


SYSTEM = "system/"
"""Prefix of metrics of a trial's nodes, which MLflow shows on a page of their own."""


@dataclass
class SentState:
    """What the outbox already has of a run. After a restart, trials report their steps and evaluations again."""

    last_step: int = 0
    """The last step whose diagnostics were logged."""
    evaluations: set[tuple[int, int]] = field(default_factory=set)
    """Step and number of metrics of each evaluation: a step may first be evaluated in part, and later in full."""
    nodes: list[str] = field(default_factory=list)
    """The nodes on which its workers have run."""
    total_steps: int | None = None
    """How many steps it takes; None if it has not said so."""
    samples: int = 0
    """How many samples of its nodes were logged."""


class Outbox(Tracker):
    """A `Tracker` that appends its calls to a file of the sweep's folder. One process writes it.

    Run ids are the sweep's own names of its runs; `Delivery` replaces them by those of the store.
    """

    def __init__(self, folder: Path) -> None:
        """Open the outbox of a sweep's folder, or create it."""
        self.path = folder / OUTBOX_FILE
        self._log = AppendLog(self.path)

    def start_sweep(
        self, sweep: str, parameters: Mapping[str, Any], tags: Mapping[str, Any] | None = None
    ) -> str:
        """Record the call; return the name of the sweep."""
        self._append("start_sweep", sweep, parameters=parameters, tags=tags)
        return sweep

    def start_trial(
        self,
        trial: str,
        parent: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any] | None = None,
    ) -> str:
        """Record the call; return the name of the trial."""
        self._append("start_trial", trial, parent=parent, name=name, parameters=parameters, tags=tags)
        return trial

    def log_metrics(
        self, run: str, metrics: Mapping[str, float], step: int = 0, time_ms: int | None = None
    ) -> None:
        """Record the call with the time of recording, not that of its delivery."""
        self._append("log_metrics", run, metrics=metrics, step=step, time_ms=_time_or_now(time_ms))

    def log_history(
        self,
        run: str,
        history: Mapping[str, Sequence[float]],
        steps: Sequence[int],
        time_ms: int | None = None,
    ) -> None:
        """Record the call with the time of recording, not that of its delivery."""
        self._append("log_history", run, history=history, steps=steps, time_ms=_time_or_now(time_ms))

    def set_tags(self, run: str, tags: Mapping[str, Any]) -> None:
        """Record the call."""
        self._append("set_tags", run, tags=tags)

    def describe(self, run: str, markdown: str) -> None:
        """Record the call."""
        self._append("describe", run, markdown=markdown)

    def log_files(self, run: str, paths: Sequence[Path | str], artifact_path: str = "") -> None:
        """Record the call; the files are read when it is delivered."""
        self._append("log_files", run, paths=self._places(paths), artifact_path=artifact_path)

    def share_view(self, run: str, identifier: str, name: str, state: Mapping[str, Any]) -> None:
        """Record the call."""
        self._append("share_view", run, identifier=identifier, name=name, state=state)

    def log_data(self, run: str, source: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> None:
        """Record the call."""
        self._append("log_data", run, source=source, sets=sets)

    def log_model(
        self, run: str, name: str, step: int, tags: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """Record the call."""
        self._append("log_model", run, name=name, step=step, tags=tags, metrics=metrics)

    def register_model(
        self,
        run: str,
        name: str,
        paths: Sequence[Path | str],
        tags: Mapping[str, Any],
        alias: str | None = None,
    ) -> None:
        """Record the call; the files are read when it is delivered."""
        self._append("register_model", run, name=name, paths=self._places(paths), tags=tags, alias=alias)

    def finish(self, run: str, status: str, reason: str = "", tags: Mapping[str, Any] | None = None) -> None:
        """Record the call."""
        self._append("finish", run, status=status, reason=reason, tags=tags)

    def sent_states(self) -> dict[str, SentState]:
        """Return what the file has, by the names of the runs."""
        states: dict[str, SentState] = defaultdict(SentState)
        for record, _ in read_log(self.path):
            if record is None:
                continue
            state, arguments = states[record["run"]], record["arguments"]
            if record["call"] == "log_history":
                state.last_step = arguments["steps"][-1]
            elif record["call"] == "log_metrics" and next(iter(arguments["metrics"]), "").startswith(SYSTEM):
                state.samples = arguments["step"] + 1
            elif record["call"] == "log_metrics" and "step" in arguments:
                state.evaluations.add((arguments["step"], len(arguments["metrics"])))
            elif record["call"] == "set_tags" and "node" in arguments["tags"]:
                state.nodes = arguments["tags"]["node"].split(", ")
            elif record["call"] == "set_tags" and TOTAL_STEPS in arguments["tags"]:
                state.total_steps = arguments["tags"][TOTAL_STEPS]
        return states

    def _places(self, paths: Sequence[Path | str]) -> list[str]:
        """Return absolute paths and URLs as text; files of the sweep's folder relative to it, wherever it will be."""
        prefix = f"{self.path.parent}/"
        return [str(path).removeprefix(prefix) for path in paths]

    def _append(self, call: Start | Call, run: str, **arguments: Any) -> None:
        record = {"call": call, "run": run, "arguments": arguments}
        self._log.append([without_credentials(json.dumps(record, default=str))])


def _time_or_now(time_ms: int | None) -> int:
    """Return a time in milliseconds since the epoch."""
    return int(time.time() * 1000) if time_ms is None else time_ms
