"""The plan of a sweep, from its configuration and the records of ended trials."""

from dataclasses import replace
from pathlib import Path

import pytest

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import SWEEPS, write_record
from hamu_ray.results.outcome import Status
from hamu_ray.results.sweep_folders import make_folder, new_folder, resumable_folder
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tuning.budget import ending
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.preview import preview

DOCUMENT = {
    "name": "planned",
    "workers": {"count": 2, "cpus": 0.5},
    "space": {
        "workers.count": {"grid": [1, 4, 2]},
        "method.name": {"grid": ["hamu-q", "gdiff"]},
        "optimizer.learning_rate": {"loguniform": [0.1, 0.2]},
    },
    "search": {
        "samples": 5,
        "concurrent": 3,
        "objectives": [{"metric": "forget_accuracy", "mode": "min"}, {"metric": "retain_utility"}],
    },
}


def config_in(folder: Path, **search: object) -> SweepConfig:
    document = {**DOCUMENT, "search": {**DOCUMENT["search"], **search}, "storage": {"path": str(folder)}}
    return SweepConfig.model_validate(document)


@pytest.mark.parametrize(
    ("records", "is_budget_spent", "expected"),
    [
        (30, False, (Status.FINISHED, "")),
        (30, True, (Status.FINISHED, "")),
        (2, False, (Status.INTERRUPTED, "")),
        (2, True, (Status.FINISHED, "search.time_budget of 60 s is spent: 2 of 30 trials have run")),
    ],
)
def test_how_a_sweep_ends(
    tmp_path: Path, records: int, is_budget_spent: bool, expected: tuple[Status, str]
) -> None:
    """With a time budget, too, Ctrl-C between two trials is an interrupt."""
    plan = plan_sweep(config_in(tmp_path, time_budget=60), tmp_path / "sweep")
    assert ending(plan, [record_of(number) for number in range(records)], is_budget_spent) == expected


def test_a_sweep_with_an_interrupted_trial_is_interrupted(tmp_path: Path) -> None:
    plan = plan_sweep(config_in(tmp_path, time_budget=60), tmp_path / "sweep")
    records = [record_of(0), record_of(1, Status.INTERRUPTED)]
    assert ending(plan, records, is_budget_spent=True) == (Status.INTERRUPTED, "")


def test_a_sweep_whose_trials_wait_at_rungs_says_so(tmp_path: Path) -> None:
    """A spent budget ended it; with --resume they go on."""
    plan = plan_sweep(config_in(tmp_path, time_budget=60), tmp_path / "sweep")
    waiting = [replace(record_of(number, Status.INTERRUPTED), running=True) for number in range(2)]
    records = [*waiting, *(record_of(number) for number in range(2, 30))]
    reason = "search.time_budget of 60 s is spent: 28 of 30 trials have run, and 2 wait at a rung"
    assert ending(plan, records, is_budget_spent=True) == (Status.FINISHED, reason)
    assert ending(plan, records, is_budget_spent=False) == (Status.INTERRUPTED, "")


def record_of(number: int, status: Status = Status.FINISHED) -> TrialRecord:
    return TrialRecord(f"{number:04d}", status, {}, {}, curve={10: (0.5, 0.25)})


def test_a_new_sweep(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    plan = plan_sweep(config, new_folder(config, tmp_path))
    assert (plan.trials, plan.remaining, len(plan.grid)) == (30, 30, 6)
    assert [(group.count, group.cpus) for group in plan.groups] == [(1, 0.5), (4, 0.5), (2, 0.5)]
    assert plan.largest_group.count == 4
    assert plan.concurrent == 3
    assert plan.metrics == ("forget_accuracy", "retain_utility")
    assert plan.folder.parent == tmp_path / SWEEPS
    assert plan.results == plan.folder, "one folder where the storage is the driver's own"
    assert plan.name.startswith("planned-")
    assert plan.reference is None


def test_models_go_to_the_storage_and_records_stay_with_the_driver(tmp_path: Path) -> None:
    document = {**DOCUMENT, "storage": {"path": "memory://bucket/runs", "local": str(tmp_path)}}
    config = SweepConfig.model_validate(document)
    plan = plan_sweep(config, new_folder(config, tmp_path))
    assert plan.folder.parent == tmp_path / SWEEPS
    assert str(plan.results) == f"memory://bucket/runs/{SWEEPS}/{plan.name}"


def test_a_resumed_sweep_knows_what_ended_and_compares_with_what_finished(tmp_path: Path) -> None:
    config = config_in(tmp_path, pruning={"margin": 0.2, "grace_steps": 7})
    first = plan_sweep(config, new_folder(config, tmp_path))
    make_folder(first.folder, config)
    for record in (record_of(0), record_of(1, Status.PRUNED), replace(record_of(4), curve={})):
        write_record(first.folder, record)
    plan = plan_sweep(config, resumable_folder(config, tmp_path))
    assert plan.folder == first.folder
    assert (plan.trials, plan.remaining) == (30, 27)
    assert [record.trial_id for record in plan.records] == ["0000", "0001", "0004"]
    assert plan.reference is not None
    assert plan.reference.curves == ({10: (0.5, 0.25)},)
    assert (plan.reference.margin, plan.reference.grace_steps) == (0.2, 7)
    assert plan.reference.maximise == (False, True)


def test_the_dry_run_prints_the_plan_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preview(config_in(tmp_path))
    printed = capsys.readouterr().out
    assert "trials     30 (6 cells of the grids x 5 samples, tpe)" in printed
    assert "objectives min forget_accuracy, max retain_utility" in printed
    assert "learning_rate: 0.1" in printed
    assert not list(tmp_path.iterdir())
