"""A run that pauses at rungs: as if it had ended there, and bitwise as undisturbed once it is continued."""

from pathlib import Path

import pytest
from cheap_runs import Done, ReportList, cheap_run, done, same_bits

from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import OUTCOME_FILE, read_outcome, read_reports
from hamu_ray.results.outcome import Status

SECTIONS = {"optimizer": {"momentum": 0.9, "learning_rate": 0.01}}
RUN = cheap_run(duration={"steps": 6}, **SECTIONS)


@pytest.fixture
def undisturbed(resident: Resident, folder: Path) -> Done:
    return done(RUN, resident, folder.with_name("undisturbed"))


def test_continued_is_as_undisturbed(resident: Resident, folder: Path, undisturbed: Done) -> None:
    steps = []
    for passed in (0, 2, 3):
        run = done(RUN, resident, folder, pauses=[step for step in (2, 3, 6) if step > passed])
        steps.append((run.outcome.resumed_at, run.outcome.steps, run.outcome.paused))
        assert bool(list(folder.glob("checkpoints/*/*"))) is run.outcome.paused
    assert steps == [(0, 2, True), (2, 3, True), (3, 6, False)], "no pause at the last step"
    assert same_bits(run.weights, undisturbed.weights)
    assert run.outcome.measures == undisturbed.outcome.measures
    assert run.outcome.gradient_computations == undisturbed.outcome.gradient_computations
    assert repr(run.recorder.history) == repr(undisturbed.recorder.history)


def test_a_paused_run_is_as_one_of_so_many_steps(resident: Resident, folder: Path) -> None:
    paused = done(RUN, resident, folder, pauses=(3,))
    short = done(cheap_run(duration={"steps": 3}, **SECTIONS), resident, folder.with_name("short"))
    assert same_bits(paused.weights, short.weights)
    assert paused.outcome.measures == short.outcome.measures, "evaluated in full"
    assert (paused.outcome.status, paused.outcome.reason) == (
        Status.PRUNED,
        "not continued from its rung at step 3",
    )
    assert read_outcome(folder) == paused.outcome
    assert read_reports(folder)[-1].measures == paused.outcome.measures


def test_killed_between_checkpoint_and_outcome_it_pauses_again(resident: Resident, folder: Path) -> None:
    first = done(RUN, resident, folder, pauses=(3,))
    (folder / OUTCOME_FILE).unlink()
    again = done(RUN, resident, folder, pauses=(3,))
    assert (again.outcome.resumed_at, again.outcome.steps, again.outcome.paused) == (3, 3, True)
    assert again.outcome.measures == first.outcome.measures
    assert same_bits(again.weights, first.weights)


def test_killed_behind_a_rung_it_pauses_at_the_next(resident: Resident, folder: Path) -> None:
    done(RUN, resident, folder, pauses=(2,))
    done(RUN, resident, folder, ReportList(enough_at=4), pauses=(4,))
    again = done(RUN, resident, folder, pauses=(2, 5))
    assert (again.outcome.resumed_at, again.outcome.steps, again.outcome.paused) == (4, 5, True)
