"""A radius that adapts to the agreement of predicted and actual changes."""

import math
from pathlib import Path

import pytest
from cheap_runs import cheap_run, done

from hamu_ray.engine.resident import Resident
from hamu_ray.results.outcome import Status


@pytest.mark.timeout(300)  # trains its own original and reference
def test_a_run_that_diverges_ends_within_the_guarantee_with_a_trust_region(
    resident: Resident, folder: Path
) -> None:
    def ended(trust_region: bool):
        method = {"name": "hamu-q", "constraint_split": "exact", "constraint_fraction": 0.3}
        run = cheap_run(
            method={**method, "trust_region": trust_region},
            optimizer={"learning_rate": 1.0},
            duration={"steps": 60},
            forget={"kind": "class", "label": 0, "rho": 0.5},
            training={"epochs": 15},
        )
        return done(run, resident, folder.with_name(str(trust_region)))

    free, held = ended(False), ended(True)
    assert free.outcome.status is Status.COLLAPSED
    assert held.outcome.status is Status.FINISHED
    assert held.outcome.guaranteed
    assert min(held.recorder.history["radius_scale"]) < 1
    assert all(map(math.isfinite, held.recorder.history["promise_kept"]))
    looked = [
        step for step, kept in enumerate(free.recorder.history["promise_kept"], 1) if math.isfinite(kept)
    ]
    assert looked == [1, 10, 20, 30, 40, 50, 60]
