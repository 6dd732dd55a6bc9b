"""The outbox accepts every call of a tracker, and sends it with the same arguments."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.results.durable.append_log import AppendLog, read_log
from hamu_ray.results.folder import OUTBOX_FILE, SENT_FILE
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, is_refusal
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.tracker import Tracker

METHODS = [name for name in vars(Tracker) if not name.startswith("_") and name != "batched"]
NOW = 1_700_000_000_000

CALLS: dict[str, dict[str, Any]] = {
    "start_sweep": {"parameters": {"seed": 1}, "tags": {"algorithm": "tpe"}},
    "start_trial": {
        "parent": "sweep",
        "name": "first",
        "parameters": {"method.name": "ga"},
        "tags": {"a": "b"},
    },
    "log_metrics": {"metrics": {"loss": 0.5}, "step": 3, "time_ms": NOW},
    "log_history": {"history": {"loss": [1.0, 0.5]}, "steps": [1, 2], "time_ms": NOW},
    "set_tags": {"tags": {"knee": "true"}},
    "describe": {"markdown": "# A sweep"},
    "log_files": {"paths": ["/elsewhere/a.txt", "s3://bucket/b.txt"], "artifact_path": "front"},
    "share_view": {"identifier": "v", "name": "All", "state": {"columns": []}},
    "log_data": {
        "source": {"name": "digits"},
        "sets": {"forget": {"digest": "0a1b", "examples": 3}},
    },
    "log_model": {"name": "m", "step": 3, "tags": {"knee": "true"}, "metrics": {"loss": 0.5}},
    "register_model": {
        "name": "m",
        "paths": ["/elsewhere/a.txt", "s3://bucket/b.txt"],
        "tags": {"x": 1},
        "alias": "knee",
    },
    "finish": {"status": "finished", "reason": "all steps", "tags": {"node": "a"}},
}


def run_of(call: str) -> str:
    return "sweep" if call in ("start_sweep", "describe", "share_view") else "0000"


def write_calls(folder: Path) -> None:
    outbox: Tracker = Outbox(folder)
    for call, arguments in CALLS.items():
        getattr(outbox, call)(run_of(call), **arguments)


@pytest.mark.parametrize("tracker", [Outbox, MlflowTracker])
def test_implementations_have_the_signatures_of_the_protocol(tracker: type) -> None:
    for name in METHODS:
        ours, given = (list(inspect.signature(getattr(one, name)).parameters) for one in (tracker, Tracker))
        assert ours == given, name


def test_every_call_is_written_with_its_arguments(tmp_path: Path) -> None:
    write_calls(tmp_path)
    lines = [line for line, _ in read_log(tmp_path / OUTBOX_FILE)]
    assert sorted(CALLS) == sorted(METHODS)
    assert lines == [
        {"call": call, "run": run_of(call), "arguments": arguments} for call, arguments in CALLS.items()
    ]


def test_an_outbox_delivers_every_call_to_another(tmp_path: Path) -> None:
    """An outbox is a tracker, so one can be sent to another: the two files are the same."""
    write_calls(tmp_path / "from")
    target = Outbox(tmp_path / "to")
    Delivery(tmp_path / "from", target).send()
    assert target.path.read_bytes() == (tmp_path / "from" / OUTBOX_FILE).read_bytes()
    state = json.loads((tmp_path / "from" / SENT_FILE).read_text())
    assert state["runs"] == {"sweep": "sweep", "0000": "0000"}
    Delivery(tmp_path / "from", target).send()
    assert len(target.path.read_text().splitlines()) == len(CALLS), "nothing is delivered twice"


def test_files_of_the_folder_are_found_where_it_is_now(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "before")
    outbox.start_sweep("sweep", {})
    outbox.log_files("sweep", [tmp_path / "before" / "front" / "front.csv"])
    (tmp_path / "before").rename(tmp_path / "after")
    target = Outbox(tmp_path / "to")
    Delivery(tmp_path / "after", target).send()
    assert [line for line, _ in read_log(target.path)][-1]["arguments"]["paths"] == [
        str(tmp_path / "after" / "front" / "front.csv")
    ]


def test_what_is_refused_for_good_is_set_aside_and_does_not_block_the_rest(tmp_path: Path) -> None:
    write_calls(tmp_path)
    log = AppendLog(tmp_path / OUTBOX_FILE)
    log.append([json.dumps({"call": "delete_run", "run": "0000", "arguments": {}})])
    log.append([json.dumps({"call": "set_tags", "run": "0000", "arguments": {"tags": {"last": "1"}}})])
    delivery = Delivery(tmp_path, Outbox(tmp_path / "to"))
    delivery.send()
    assert (delivery.waiting, delivery.refused) == (0, 1)
    last, _ = list(read_log(tmp_path / "to" / OUTBOX_FILE))[-1]
    assert last == {"call": "set_tags", "run": "0000", "arguments": {"tags": {"last": "1"}}}
    ((refused, _),) = read_log(delivery.refused_file)
    assert refused == {
        "call": "delete_run",
        "run": "0000",
        "arguments": {},
        "error": "KeyError: 'delete_run'",
    }
    assert Delivery(tmp_path, Outbox(tmp_path / "to")).refused == 1, "it is counted by the next process, too"


class MlflowError(Exception):
    """An error like those of mlflow, with a code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.error_code = code


class DatabaseError(Exception):
    """Named like SQLAlchemy's."""


@pytest.mark.parametrize("code", ["INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST"])
def test_refusals(code: str) -> None:
    assert is_refusal(MlflowError(code))


@pytest.mark.parametrize("code", ["TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "PERMISSION_DENIED"])
def test_what_may_pass_waits(code: str) -> None:
    assert not is_refusal(MlflowError(code))
    assert not is_refusal(ConnectionError(code))


def test_a_broken_database_refuses_nothing() -> None:
    error = MlflowError("BAD_REQUEST")
    error.__cause__ = DatabaseError("database disk image is malformed")
    assert not is_refusal(error)


def test_another_store_gets_everything_from_the_beginning(tmp_path: Path) -> None:
    write_calls(tmp_path)
    Delivery(tmp_path, Outbox(tmp_path / "one"), "one").send()
    other = Delivery(tmp_path, Outbox(tmp_path / "two"), "two")
    assert (other.waiting, other.runs) == (len(CALLS), {})
    other.send()
    assert (tmp_path / "two" / OUTBOX_FILE).read_bytes() == (tmp_path / "one" / OUTBOX_FILE).read_bytes()
    assert Delivery(tmp_path, Outbox(tmp_path / "two"), "two").waiting == 0


DAMAGE = {
    "cut short": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "a flipped bit": lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_note_of_what_was_sent_sends_all_again(tmp_path: Path, damage: str) -> None:
    write_calls(tmp_path)
    Delivery(tmp_path, Outbox(tmp_path / "to")).send()
    path = tmp_path / SENT_FILE
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert Delivery(tmp_path, Outbox(tmp_path / "again")).waiting == len(CALLS)


def test_sent_states(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.log_metrics("0000", {"a": 1.0, "b": 2.0}, 5)
    outbox.log_history("0000", {"c": [1.0, 2.0]}, [1, 2])
    state = outbox.sent_states()["0000"]
    assert (state.last_step, state.evaluations) == (2, {(5, 2)})
    assert outbox.sent_states()["0001"].last_step == 0
