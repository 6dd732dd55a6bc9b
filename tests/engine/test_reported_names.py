"""Every number that a real run reports has a row in the table of metrics, under its kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cheap_runs import cheap_run, done

from hamu_ray.engine.resident import Resident
from hamu_ray.metrics.table import BLOCK, MODEL, STEP
from hamu_ray.results.folder import HARDNESS_FILE

TRUST = {"name": "hamu-q", "trust_region": True}


@pytest.mark.parametrize("method", [TRUST, {"name": "hamu-u"}, {"name": "scrub"}, {"name": "ga"}])
def test_reported_names_are_in_the_table(method: dict[str, Any], resident: Resident, folder: Path) -> None:
    run = done(cheap_run(method=method), resident, folder)
    measured = {name for report in run.recorder.reports for name in report.measures}
    assert measured
    assert measured <= MODEL["vision"].keys()
    diagnostics = run.recorder.history.keys() - {"step"}
    assert diagnostics
    assert diagnostics <= STEP.keys()
    blocks = set(np.load(folder / HARDNESS_FILE).files) - {"blocks"}
    assert blocks
    assert blocks <= BLOCK.keys()
    if method is TRUST:  # reports every diagnostic
        assert diagnostics == STEP.keys()
        assert blocks == BLOCK.keys()
