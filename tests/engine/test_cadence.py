from pathlib import Path

from cheap_runs import Done, cheap_run, done

from hamu_ray.engine.resident import Resident
from hamu_ray.tasks.vision.measures import ALL, CHEAP

COMPARED_CHEAPLY = {"forget_quality", "retain_utility", "forget_accuracy_quality"}


def evaluations(run: Done) -> list[tuple[int, bool]]:
    """Return the steps at which a run was evaluated, and whether in full."""
    found = []
    for report in run.recorder.of("unlearning"):
        if report.measures:
            full = set(ALL) <= set(report.measures)
            assert full or set(report.measures) == {*CHEAP, *COMPARED_CHEAPLY}
            found.append((report.step, full))
    return found


def test_by_steps(resident: Resident, folder: Path) -> None:
    run = done(
        cheap_run(duration={"steps": 7}, evaluation={"every_steps": 3, "subset": 50}), resident, folder
    )
    assert evaluations(run) == [(0, True), (3, False), (6, False), (7, True)]
    between = next(report.measures for report in run.recorder.of("unlearning") if report.step == 3)
    for split in ("retain", "forget", "test"):
        right = 50 * between[f"{split}_accuracy"]
        assert abs(right - round(right)) < 1e-4, "of 50 images"


def test_by_epochs_of_the_retain_set(resident: Resident, folder: Path) -> None:
    run = done(
        cheap_run(
            batch={"retain": 700, "forget": 30},
            duration={"steps": None, "epochs": 3},
            evaluation={"every_steps": None, "every_epochs": 2},
        ),
        resident,
        folder,
    )
    assert run.outcome.steps == 6, "two batches hold the retain set"
    assert run.outcome.gradient_computations == 12
    assert evaluations(run) == [(0, True), (4, False), (6, True)]


def test_an_evaluation_that_falls_on_the_end_is_the_full_one(resident: Resident, folder: Path) -> None:
    run = done(cheap_run(evaluation={"every_steps": 2}), resident, folder)
    assert evaluations(run) == [(0, True), (2, False), (4, True)]


def test_without_a_cadence_only_start_and_end(resident: Resident, folder: Path) -> None:
    run = done(cheap_run(evaluation={"every_steps": None}), resident, folder)
    assert evaluations(run) == [(0, True), (4, True)]


def test_every_step_is_reported_once(resident: Resident, folder: Path) -> None:
    run = done(
        cheap_run(
            duration={"steps": 23}, evaluation={"every_steps": 8, "subset": 20}, checkpoint={"every_steps": 5}
        ),
        resident,
        folder,
    )
    assert run.recorder.history["step"] == list(range(1, 24))
    assert run.outcome.measures == list(run.recorder.of("unlearning"))[-1].measures
