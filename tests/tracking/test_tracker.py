"""The outbox accepts every call of a tracker, and sends it with the same arguments."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.results.folder import OUTBOX_FILE, SENT_FILE
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.outbox import Delivery, Outbox
from hamu_ray.tracking.tracker import Tracker

METHODS = [name for name in vars(Tracker) if not name.startswith("_")]
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
    "log_files": {"paths": ["a.txt"], "artifact_path": "front"},
    "share_view": {"identifier": "v", "name": "All", "state": {"columns": []}},
    "register_model": {"name": "m", "paths": ["a.txt"], "tags": {"x": 1}, "alias": "knee"},
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
    lines = [json.loads(line) for line in (tmp_path / OUTBOX_FILE).read_text().splitlines()]
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


def test_an_unknown_call_is_an_error_and_remains(tmp_path: Path) -> None:
    write_calls(tmp_path)
    with (tmp_path / OUTBOX_FILE).open("a") as file:
        file.write(json.dumps({"call": "delete_run", "run": "0000", "arguments": {}}) + "\n")
    delivery = Delivery(tmp_path, Outbox(tmp_path / "to"))
    with pytest.raises(KeyError, match="delete_run"):
        delivery.send()
    assert delivery.waiting == 1


def test_sent_states(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.log_metrics("0000", {"a": 1.0, "b": 2.0}, 5)
    outbox.log_history("0000", {"c": [1.0, 2.0]}, [1, 2])
    state = outbox.sent_states()["0000"]
    assert (state.last_step, state.evaluations) == (2, {(5, 2)})
    assert outbox.sent_states()["0001"].last_step == 0
