"""A run that was interrupted and restarted in its folder gives bitwise identical results."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap_runs import Done, ReportList, cheap_run, done, same_bits

from hamu_ray.config.run import CheckpointConfig, DurationConfig, RunConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import HARDNESS_FILE
from hamu_ray.results.outcome import Status

CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"optimizer": {"momentum": 0.9}},
    "adamw": {"optimizer": {"name": "adamw", "learning_rate": 1e-4}},
    "cosine": {"optimizer": {"schedule": "cosine"}},
    "kl": {"method": {"name": "kl"}},
    "scrub": {"method": {"name": "scrub"}, "optimizer": {"momentum": 0.9}},
    "pdu": {
        "method": {
            "name": "pdu",
            "retain_loss_eps": 0.5,
            "dual_step_size": 0.3,
            "initial_multiplier": 5.0,
            "dual_warmup": 0.25,
        }
    },
    "batchnorm": {"model": {"freeze_batchnorm": False}},
    "trust region": {
        "method": {
            "name": "hamu-u",
            "constraint_split": "exact",
            "constraint_fraction": 0.5,
            "trust_region": True,
        },
        "optimizer": {"learning_rate": 100.0},
    },
}


def run_of(case: str) -> RunConfig:
    return cheap_run(duration={"steps": 6}, checkpoint={"every_steps": 2}, **CASES[case])


def another_process(resident: Resident) -> Resident:
    """The state of a new process: only the storage, nothing in memory."""
    return Resident(resident.storage, torch.device("cpu"))


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/*/step-*"))


def assert_same_end(one: Done, other: Done) -> None:
    assert same_bits(one.weights, other.weights)
    assert one.outcome.measures == other.outcome.measures
    ends = [
        (end.status, end.reason, end.steps, end.gradient_computations, end.steps_outside_guarantee)
        for end in (one.outcome, other.outcome)
    ]
    assert ends[0] == ends[1]
    hardness = [np.load(end.folder / HARDNESS_FILE) for end in (one, other)]
    assert all(np.array_equal(hardness[0][name], hardness[1][name]) for name in hardness[0].files)


@pytest.mark.parametrize("case", CASES)
def test_resumed_is_as_undisturbed(case: str, resident: Resident, folder: Path) -> None:
    run = run_of(case)
    undisturbed = done(run, resident, folder.with_name("undisturbed"))
    with pytest.raises(ConnectionError):
        done(run, resident, folder, ReportList(dies_at=4))
    resumed = done(run, another_process(resident), folder)
    assert resumed.outcome.resumed_at == 2
    assert repr(resumed.recorder.history) == repr(undisturbed.recorder.history), (
        "a new listener hears of all steps"
    )
    assert_same_end(resumed, undisturbed)


def test_the_resumed_trust_region_had_moved(resident: Resident, folder: Path) -> None:
    """Without this, the case above would show nothing."""
    history = done(run_of("trust region"), resident, folder).recorder.history
    assert history["radius_scale"][2] < 1
    assert any(history["step_refused"][:2])


def test_steps_outside_the_guarantee_are_counted_over_the_whole_run(resident: Resident, folder: Path) -> None:
    beyond = {"name": "hamu-q", "radius": 1e-6, "constraint": 1e-3, "infeasible": "skip"}
    run = cheap_run(duration={"steps": 6}, checkpoint={"every_steps": 2}, method=beyond)
    with pytest.raises(ConnectionError):
        done(run, resident, folder, ReportList(dies_at=4))
    resumed = done(run, another_process(resident), folder).outcome
    assert (resumed.resumed_at, resumed.steps_outside_guarantee, resumed.guaranteed) == (2, 6, False)
    gdiff = done(run_of("kl"), resident, folder.with_name("kl")).outcome
    assert (gdiff.steps_outside_guarantee, gdiff.guaranteed) == (None, None)


def test_stopped_from_outside_and_started_again(resident: Resident, folder: Path) -> None:
    run = run_of("momentum")
    stopped = done(run, resident, folder, ReportList(enough_at=4))
    assert stopped.outcome.status is Status.INTERRUPTED
    assert stopped.outcome.measures == {}
    assert_same_end(done(run, resident, folder), done(run, resident, folder.with_name("undisturbed")))


def test_an_interrupted_run_leaves_a_checkpoint(resident: Resident, folder: Path) -> None:
    """At the report at which it was interrupted, whether or not checkpoints are configured."""
    run = run_of("trust region").model_copy(
        update={"checkpoint": CheckpointConfig(), "duration": DurationConfig(steps=16)}
    )
    assert done(run, resident, folder, ReportList(enough_at=10)).outcome.status is Status.INTERRUPTED
    resumed = done(run, another_process(resident), folder)
    assert resumed.outcome.resumed_at == 10
    assert_same_end(resumed, done(run, resident, folder.with_name("undisturbed")))
    assert not checkpoints(folder)


def flipped(content: bytes) -> bytes:
    """One bit of a tensor's last number."""
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGE = {
    "cut": lambda content: content[:-1],
    "flipped bit": flipped,
    "zeros": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
}


@pytest.mark.parametrize(("damaged", "damage"), [(1, "cut"), (2, "cut"), (1, "flipped bit"), (2, "zeros")])
def test_a_damaged_checkpoint_is_passed_over(
    damaged: int, damage: str, resident: Resident, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest gives way to the one before it, that to the start; and both to new ones."""
    run = run_of("momentum").model_copy(update={"checkpoint": CheckpointConfig(every_steps=2, keep=True)})
    with pytest.raises(ConnectionError):
        done(run, resident, folder, ReportList(dies_at=6))
    files = checkpoints(folder)
    assert [file.stem for file in files] == ["step-000000002", "step-000000004"]
    for file in files[-damaged:]:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        resumed = done(run, resident, folder)
    assert resumed.outcome.resumed_at == {1: 2, 2: 0}[damaged]
    assert len(caplog.records) == damaged
    assert_same_end(resumed, done(run, resident, folder.with_name("undisturbed")))
    assert [file.stem for file in checkpoints(folder)] == ["step-000000004", "step-000000006"]


def test_a_damaged_later_checkpoint_does_not_push_out_new_ones(resident: Resident, folder: Path) -> None:
    run = run_of("sgd")
    with pytest.raises(ConnectionError):
        done(run, resident, folder, ReportList(dies_at=6))
    for file in checkpoints(folder):
        file.write_bytes(b"")
    with pytest.raises(ConnectionError):
        done(run, resident, folder, ReportList(dies_at=4))
    assert [file.stem for file in checkpoints(folder)] == ["step-000000002"]
    assert done(run, resident, folder).outcome.resumed_at == 2


def test_checkpoints_of_another_run_are_left_alone(resident: Resident, folder: Path) -> None:
    with pytest.raises(ConnectionError):
        done(run_of("sgd"), resident, folder, ReportList(dies_at=4))
    assert done(run_of("cosine"), resident, folder).outcome.resumed_at == 0
    elsewhere = run_of("sgd").model_copy(update={"name": "renamed"})
    assert done(elsewhere, resident, folder).outcome.resumed_at == 2


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_of_a_run_that_has_ended(keep: bool, resident: Resident, folder: Path) -> None:
    run = run_of("sgd").model_copy(update={"checkpoint": CheckpointConfig(every_steps=2, keep=keep)})
    stopped = done(run, resident, folder, ReportList(enough_at=4))
    assert stopped.outcome.status is Status.INTERRUPTED
    assert checkpoints(folder), "it can go on"
    done(run, resident, folder)
    assert bool(checkpoints(folder)) == keep
    assert (folder / "checkpoints").exists() == keep
