from pathlib import Path

import numpy as np
import pytest
from cheap_runs import cheap_run, done, same_bits

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.resident import Resident
from hamu_ray.results.folder import HARDNESS_FILE


@pytest.mark.parametrize("method", ["hamu-q", "scrub"])
def test_the_same_run_gives_the_same_bits(method: str, resident: Resident, folder: Path) -> None:
    run = cheap_run(method={"name": method})
    one, other = done(run, resident, folder), done(run, resident, folder.with_name("again"))
    assert same_bits(one.weights, other.weights)
    np.testing.assert_equal(one.recorder.history, other.recorder.history)  # NaN if nothing was measured
    assert one.outcome.measures == other.outcome.measures
    hardness = [np.load(run_folder / HARDNESS_FILE) for run_folder in (one.folder, other.folder)]
    assert all(np.array_equal(hardness[0][name], hardness[1][name]) for name in hardness[0].files)


def test_another_seed_takes_other_steps(
    resident: Resident, folder: Path, bases: tuple[StoredModel, StoredModel]
) -> None:
    original, reference = ({"path": str(base.path)} for base in bases)
    one = done(cheap_run(original=original, reference=reference), resident, folder)
    other = done(
        cheap_run(seed=42, original=original, reference=reference), resident, folder.with_name("other")
    )
    assert not same_bits(one.weights, other.weights)
    assert one.recorder.history["step_retain_loss"] != other.recorder.history["step_retain_loss"]


def test_history_counts_steps_from_one_and_names_every_block(resident: Resident, folder: Path) -> None:
    run = done(cheap_run(duration={"steps": 13}), resident, folder)
    assert run.recorder.history["step"] == list(range(1, 14))
    hardness = np.load(folder / HARDNESS_FILE)
    assert hardness["blocks"][0] == "conv.weight"
    assert hardness["angle"].shape == (13, len(hardness["blocks"]))
    whole = hardness["retain_forget"].sum(1)
    assert whole == pytest.approx(run.recorder.history["gradient_dot"], rel=1e-4, abs=1e-6)
