"""A transactional outbox in front of the tracking store: while the store is down, records are delayed, never lost.

`Outbox` appends each tracking call to a file in the sweep's folder. `OutboxSender`, a thread, sends the calls in
order, retries while the store does not respond, and saves its position, from which another process can continue.
"""

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.results.folder import OUTBOX_FILE, SENT_FILE
from hamu_ray.storage import write_atomically
from hamu_ray.tracking.tracker import Tracker

POLL_SECONDS = 0.5
"""Pause between two checks of the file for new calls."""
RETRY_SECONDS = 5.0
"""Pause between two attempts while the store does not respond."""

Start = Literal["start_sweep", "start_trial"]
"""Calls that return the id of a run."""
Call = Literal[
    "log_metrics",
    "log_history",
    "set_tags",
    "describe",
    "log_files",
    "share_view",
    "register_model",
    "finish",
]
"""Calls on a run that was started before."""

logger = logging.getLogger(__name__)


@dataclass
class SentState:
    """The steps and evaluations of a run that are in the outbox. After a restart, trials report them again."""

    last_step: int = 0
    """The last step whose diagnostics were logged."""
    evaluations: set[tuple[int, int]] = field(default_factory=set)
    """Step and number of metrics of each evaluation: a step may first be evaluated in part, and later in full."""


class Outbox(Tracker):
    """A `Tracker` that appends its calls to a file of the sweep's folder. One process writes it.

    Run ids are the sweep's own names of its runs; `Delivery` replaces them by those of the store.
    """

    def __init__(self, folder: Path) -> None:
        """Open the outbox of a sweep's folder, or create it."""
        self.path = folder / OUTBOX_FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)

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
        self._append("log_files", run, paths=list(map(str, paths)), artifact_path=artifact_path)

    def share_view(self, run: str, identifier: str, name: str, state: Mapping[str, Any]) -> None:
        """Record the call."""
        self._append("share_view", run, identifier=identifier, name=name, state=state)

    def register_model(
        self,
        run: str,
        name: str,
        paths: Sequence[Path | str],
        tags: Mapping[str, Any],
        alias: str | None = None,
    ) -> None:
        """Record the call; the files are read when it is delivered."""
        files = list(map(str, paths))
        self._append("register_model", run, name=name, paths=files, tags=tags, alias=alias)

    def finish(self, run: str, status: str, reason: str = "", tags: Mapping[str, Any] | None = None) -> None:
        """Record the call."""
        self._append("finish", run, status=status, reason=reason, tags=tags)

    def sent_states(self) -> dict[str, SentState]:
        """Return the steps and evaluations in the file, by the names of the runs."""
        states: dict[str, SentState] = defaultdict(SentState)
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            record = json.loads(line)
            state, arguments = states[record["run"]], record["arguments"]
            if record["call"] == "log_history":
                state.last_step = arguments["steps"][-1]
            elif record["call"] == "log_metrics" and "step" in arguments:
                state.evaluations.add((arguments["step"], len(arguments["metrics"])))
        return states

    def _append(self, call: Start | Call, run: str, **arguments: Any) -> None:
        record = {"call": call, "run": run, "arguments": arguments}
        line = without_credentials(json.dumps(record, default=str))
        with self.path.open("a") as file:
            file.write(line + "\n")


class Delivery:
    """Sends the calls of an outbox to a tracker, each once, in order."""

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        """Continue at the position of an earlier delivery of this folder."""
        self._starts: Mapping[Start, Callable[..., str]] = {
            "start_sweep": tracker.start_sweep,
            "start_trial": tracker.start_trial,
        }
        self._calls: Mapping[Call, Callable[..., None]] = {
            "log_metrics": tracker.log_metrics,
            "log_history": tracker.log_history,
            "set_tags": tracker.set_tags,
            "describe": tracker.describe,
            "log_files": tracker.log_files,
            "share_view": tracker.share_view,
            "register_model": tracker.register_model,
            "finish": tracker.finish,
        }
        self._outbox = folder / OUTBOX_FILE
        self._sent = folder / SENT_FILE
        state = json.loads(self._sent.read_text()) if self._sent.exists() else {}
        self._offset: int = state.get("offset", 0)
        self.runs: dict[str, str] = state.get("runs", {})
        """Maps the outbox's run ids to the tracker's."""

    def send(self) -> None:
        """Send all calls. Raises the tracker's errors; calls that were already sent are not repeated."""
        try:
            for call, end in self._unsent():
                self._deliver(**call)
                self._offset = end
        finally:
            state = {"offset": self._offset, "runs": self.runs}
            write_atomically(self._sent, json.dumps(state).encode())

    @property
    def waiting(self) -> int:
        """The number of calls not sent yet."""
        return sum(1 for _ in self._unsent())

    def _unsent(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the calls after the saved offset, each with the offset after it, without a partial last line."""
        if not self._outbox.exists():
            return
        end = self._offset
        with self._outbox.open("rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield json.loads(line), end

    def _deliver(self, call: Start | Call, run: str, arguments: dict[str, Any]) -> None:
        """Send one call. A run that was started just before a crash is found by its name."""
        if "parent" in arguments:
            arguments["parent"] = self.runs[arguments["parent"]]
        if call == "start_sweep" or call == "start_trial":
            self.runs[run] = self._starts[call](run, **arguments)
        else:
            self._calls[call](self.runs[run], **arguments)


class OutboxSender:
    """A thread that sends the calls of an outbox while the sweep runs."""

    def __init__(self, delivery: Delivery) -> None:
        """Start sending."""
        self._delivery = delivery
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()
            pause = POLL_SECONDS if self._try_to_send() else RETRY_SECONDS
            if closing:
                return
            self._closing.wait(pause)

    def _try_to_send(self) -> bool:
        try:
            self._delivery.send()
        except Exception as error:  # mlflow, sqlalchemy, requests and drivers raise many unrelated types
            logger.warning("tracking is delayed: %s", without_credentials(str(error).splitlines()[0]))
            return False
        return True

    def close(self) -> int:
        """Send the remaining calls, if the store responds; return the number of calls that were not sent."""
        self._closing.set()
        self._thread.join()
        return self._delivery.waiting


def _time_or_now(time_ms: int | None) -> int:
    """Return a time in milliseconds since the epoch."""
    return int(time.time() * 1000) if time_ms is None else time_ms
