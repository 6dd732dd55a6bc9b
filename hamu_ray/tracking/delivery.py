"""Delivers a sweep's outbox to the tracking store.

`OutboxSender`, a thread, delivers the calls in order, retries while the store does not answer, and saves how far it
came, so that another process can continue from there. A call that the store refuses whatever is tried is set aside.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.document import first_line
from hamu_ray.results.durable.append_log import AppendLog, read_log
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.folder import OUTBOX_FILE, REFUSED_FILE, SENT_FILE
from hamu_ray.tracking.access import denial
from hamu_ray.tracking.outbox import Call, Start
from hamu_ray.tracking.tracker import Tracker

POLL_SECONDS = 0.5
"""Default pause between two checks of the file for new calls."""
CALLS_AT_ONCE = 500
"""Maximum number of calls that are delivered together."""
RETRY_SECONDS = 5.0
"""Pause between two attempts while the store does not answer."""

REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
"""MLflow's codes of errors that come again however often a call is repeated."""
STORE_ERRORS = {"DatabaseError", "InterfaceError", "InternalError"}
"""SQLAlchemy's errors for which MLflow has the code BAD_REQUEST, and that are about the database and not the call."""

logger = logging.getLogger(__name__)


class Delivery:
    """Delivers the calls of an outbox to a tracker, each once, in order."""

    def __init__(self, folder: Path, tracker: Tracker, store: str = "") -> None:
        """Continue where an earlier delivery of this folder ended.

        Args:
            folder: the sweep's.
            tracker: what takes the calls.
            store: what identifies it. Run ids belong to a store, so another one gets all calls from the beginning,
                as does a store of which it is no longer known what it has: calls that it has are no new runs or values.
        """
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
            "log_data": tracker.log_data,
            "log_model": tracker.log_model,
            "register_model": tracker.register_model,
            "finish": tracker.finish,
        }
        self._tracker = tracker
        self.folder = folder
        self._outbox = folder / OUTBOX_FILE
        self._sent = folder / SENT_FILE
        self._store = store
        self.refused_file = folder / REFUSED_FILE
        """The calls that the store refused, one JSON document per line, each with the error."""
        state = _read_state(self._sent)
        if state.get("store") != store:
            state = {}
        self._offset: int = state.get("offset", 0)
        self.runs: dict[str, str] = state.get("runs", {})
        """The tracker's run ids by the outbox's."""
        self.refused: int = state.get("refused", 0)
        """The number of calls that the store refused."""

    def send(self) -> None:
        """Deliver all calls. Raises what the tracker raises; calls delivered by then are not repeated."""
        before = self._offset
        try:
            while calls := list(islice(self._unsent(), CALLS_AT_ONCE)):
                self._deliver_all(calls)
        finally:
            if self._offset != before or not self._sent.exists():
                state = {"store": self._store, "offset": self._offset, "runs": self.runs}
                write_sealed(self._sent, {**state, "refused": self.refused})

    def _deliver_all(self, calls: Sequence[tuple[dict[str, Any], int]]) -> None:
        """Deliver calls together; if one is refused, each alone, because what the store has it does not store twice."""
        try:
            with self._tracker.batched():
                for call, _ in calls:
                    self._deliver(**call)
        except Exception as error:
            if not is_refusal(error):
                raise
            for call, end in calls:
                self._deliver_or_set_aside(call)
                self._offset = end
        self._offset = calls[-1][1]

    @property
    def waiting(self) -> int:
        """The number of calls not delivered yet."""
        return sum(1 for _ in self._unsent())

    def _unsent(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the calls after the offset, with the offset behind each; damaged ones are passed over."""
        for call, end in read_log(self._outbox, self._offset):
            if call is not None:
                yield call, end

    def _deliver_or_set_aside(self, call: dict[str, Any]) -> None:
        """Deliver a call, or move it to the file of those that the store refuses."""
        try:
            self._deliver(**call)
        except Exception as error:
            if not is_refusal(error):
                raise
            reason = without_credentials(f"{type(error).__name__}: {first_line(error)}")
            logger.warning("tracking refuses %s of %s: %s", call["call"], call["run"], reason)
            AppendLog(self.refused_file).append([json.dumps({**call, "error": reason})])
            self.refused += 1

    def _deliver(self, call: Start | Call, run: str, arguments: dict[str, Any]) -> None:
        """Deliver one call. A run that was started just before a crash is found again by its name."""
        if call == "start_sweep" or call == "start_trial":
            named = {"parent": self.runs[arguments["parent"]]} if "parent" in arguments else {}
            self.runs[run] = self._starts[call](run, **{**arguments, **named})
        else:
            if "paths" in arguments:
                arguments = {**arguments, "paths": [self._place(path) for path in arguments["paths"]]}
            self._calls[call](self.runs[run], **arguments)

    def _place(self, path: str) -> str:
        """Return where a file is that the outbox names relative to the sweep's folder."""
        return path if "://" in path else str(self.folder / path)


class OutboxSender:
    """A thread that delivers an outbox while the sweep runs."""

    def __init__(self, delivery: Delivery, pause: float = POLL_SECONDS) -> None:
        """Start delivering, with a pause in seconds between deliveries."""
        self._delivery = delivery
        self._pause = pause
        self.obstacle = ""
        """Why calls are waiting; empty if they are not."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()
            pause = self._pause if self._try_to_send() else RETRY_SECONDS
            if closing:
                return
            self._closing.wait(pause)

    def _try_to_send(self) -> bool:
        try:
            self._delivery.send()
        except Exception as error:  # mlflow, sqlalchemy, requests and drivers raise many unrelated types
            reason = without_credentials(first_line(error))
            obstacle = f"MLflow refuses access: {reason}" if denial(error) else "MLflow did not respond"
            if obstacle != self.obstacle:
                logger.warning("tracking waits: %s", reason)
            self.obstacle = obstacle
            return False
        self.obstacle = ""
        return True

    def close(self) -> int:
        """Deliver what is left, if the store answers; return the number of calls that were not delivered."""
        self._closing.set()
        self._thread.join()
        return self._delivery.waiting


def is_refusal(error: Exception) -> bool:
    """Whether a call that ended so would always end so: the store refuses it, or it names what is not there."""
    code = getattr(error, "error_code", None)  # of mlflow's exceptions; mlflow is not imported for them
    if code == "BAD_REQUEST" and type(error.__cause__).__name__ in STORE_ERRORS:
        return False
    return code in REFUSALS or isinstance(error, KeyError | TypeError | FileNotFoundError)


def _read_state(path: Path) -> dict[str, Any]:
    """Return what was delivered earlier; nothing where it is not known."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return {}
    except Damaged as error:
        logger.warning("%s; everything is delivered again", error)
        return {}
