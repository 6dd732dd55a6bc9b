"""A radius that adapts to the agreement of predicted and actual changes."""

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from cheap_runs import Done, cheap_run, done

from hamu_ray.engine.resident import Resident
from hamu_ray.results.outcome import Status


def looked_at(run: Done) -> list[int]:
    """The steps whose promises were compared with what they did."""
    kept = run.recorder.history.get("promise_kept", [])
    return [step for step, value in enumerate(kept, 1) if math.isfinite(value)]


@pytest.mark.parametrize(
    ("sections", "steps"),
    [
        ({}, [1]),
        ({"evaluation": {"promise_every_steps": 2}}, [1, 2, 4, 6]),
        ({"evaluation": {"promise_every_steps": None}}, []),
        ({"evaluation": {"enabled": False}}, []),
        ({"evaluation": {"enabled": False}, "method": {"trust_region": True}}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_how_often_promises_are_compared(
    sections: dict[str, Any], steps: list[int], resident: Resident, folder: Path
) -> None:
    assert looked_at(done(cheap_run(duration={"steps": 6}, **sections), resident, folder)) == steps


@pytest.mark.timeout(300)  # trains its own original and reference
def test_a_run_that_diverges_ends_within_the_guarantee_with_a_trust_region(
    resident: Resident, folder: Path
) -> None:
    def ended(trust_region: bool) -> Done:
        method = {"name": "hamu-q", "constraint_split": "exact", "constraint_fraction": 0.3}
        run = cheap_run(
            method={**method, "trust_region": trust_region},
            optimizer={"learning_rate": 1.0},
            duration={"steps": 30},
            forget={"kind": "class", "label": 0, "rho": 0.5},
            training={"epochs": 15},
        )
        return done(run, resident, folder.with_name(str(trust_region)))

    free, held = ended(False), ended(True)
    assert free.outcome.status is Status.COLLAPSED
    assert held.outcome.status is Status.FINISHED
    assert held.outcome.guaranteed
    assert min(held.recorder.history["radius_scale"]) < 1
    kept = held.recorder.history["promise_kept"]
    assert all(map(math.isfinite, kept))
    assert 0.5 < statistics.median(kept[15:]) < 2, "once the radius is small enough, the linear model holds"
    assert looked_at(free) == [1]
