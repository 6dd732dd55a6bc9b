"""What tracking is to be told, on disk before it is sent: a server that is down delays a record and loses nothing.

The driver only appends lines to a file. A thread of its own sends them in order, waits where the store does not answer,
and remembers how far it came, so that another process can go on from there.
"""

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamu_ray.config.credentials import without_credentials
from hamu_ray.storage import write_atomically
from hamu_ray.tracking.client import Tracking

OUTBOX_FILE = "tracking.jsonl"
SENT_FILE = "tracking.sent.json"

PAUSE_SECONDS = 0.5
"""Between looks at the journal."""
RETRY_SECONDS = 5.0
"""Between tries while the store does not answer."""

STARTS = {"start_sweep", "start_trial"}
"""Calls that return the store's id of a run."""
TIMED = {"log_metrics", "log_history"}
"""Calls that carry the time of what they tell, not that of their sending."""

logger = logging.getLogger(__name__)


class Outbox:
    """The file of calls. One process writes it."""

    def __init__(self, folder: Path) -> None:
        """Write (or go on writing) the journal of a sweep's folder."""
        self.path = folder / OUTBOX_FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def tell(self, call: str, run: str, **arguments: Any) -> None:
        """Note a call of `Tracking` on a run, which is named by the sweep's own name for it."""
        if call in TIMED:
            arguments["time_ms"] = int(time.time() * 1000)
        line = without_credentials(
            json.dumps({"call": call, "run": run, "arguments": arguments}, default=str)
        )
        with self.path.open("a") as file:
            file.write(line + "\n")

    def told(self) -> dict[str, "SentState"]:
        """Return what the journal holds of each run's steps."""
        found: dict[str, SentState] = defaultdict(SentState)
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            line = json.loads(line)
            told, arguments = found[line["run"]], line["arguments"]
            if line["call"] == "log_history":
                told.last_step = arguments["steps"][-1]
            elif line["call"] == "log_metrics" and "step" in arguments:
                told.evaluations.add((arguments["step"], len(arguments["metrics"])))
        return found


@dataclass
class SentState:
    """What tracking has been told of a run. After a restart, steps and evaluations come again."""

    last_step: int = 0
    """Of those whose diagnostics it has."""
    evaluations: set[tuple[int, int]] = field(default_factory=set)
    """Step and number of measures of each: one step may be measured in part, and then in full."""


class Delivery:
    """Sends a journal's calls to tracking, each once, in order."""

    def __init__(self, folder: Path, tracking: Tracking) -> None:
        """Go on where an earlier delivery of this folder ended."""
        self.tracking = tracking
        self._journal = folder / OUTBOX_FILE
        self._sent = folder / SENT_FILE
        state = json.loads(self._sent.read_text()) if self._sent.exists() else {}
        self._offset: int = state.get("offset", 0)
        self.runs: dict[str, str] = state.get("runs", {})
        """The store's run ids by the sweep's names for them."""

    def send(self) -> None:
        """Send all that is there. Raises what the store raises; what is sent by then stays sent."""
        try:
            for call, end in self._unsent():
                self._make(**call)
                self._offset = end
        finally:
            self._remember()

    @property
    def waiting(self) -> int:
        """The number of calls not sent yet."""
        return sum(1 for _ in self._unsent())

    def _unsent(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the calls after the offset, with the offset behind each; a half-written last line waits."""
        if not self._journal.exists():
            return
        end = self._offset
        with self._journal.open("rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield json.loads(line), end

    def _make(self, call: str, run: str, arguments: dict[str, Any]) -> None:
        """Make one call. A run that was started just before a crash is found again by its name."""
        make = getattr(self.tracking, call)
        if "parent" in arguments:
            arguments["parent"] = self.runs[arguments["parent"]]
        if call in STARTS:
            self.runs[run] = make(run, **arguments)
        else:
            make(self.runs[run], **arguments)

    def _remember(self) -> None:
        state = {"offset": self._offset, "runs": self.runs}
        write_atomically(self._sent, json.dumps(state).encode())


class OutboxSender:
    """A thread that delivers while the sweep goes on."""

    def __init__(self, delivery: Delivery) -> None:
        """Start delivering."""
        self._delivery = delivery
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()
            pause = PAUSE_SECONDS if self._try() else RETRY_SECONDS
            if closing:
                return
            self._closing.wait(pause)

    def _try(self) -> bool:
        try:
            self._delivery.send()
        except Exception as error:  # mlflow, sqlalchemy, requests and drivers each raise their own
            logger.warning("tracking waits: %s", without_credentials(str(error).splitlines()[0]))
            return False
        return True

    def close(self) -> int:
        """Deliver what is there, if the store answers; return the number of calls that are left waiting."""
        self._closing.set()
        self._thread.join()
        return self._delivery.waiting
