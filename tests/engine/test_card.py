"""A model card says whether the steps were guaranteed, and how hard the problem was."""

from pathlib import Path
from typing import Any

import pytest
from cheap_runs import cheap_run, done

from hamu_ray.engine.resident import Resident

FREE = "of the forgetting available in the first step costs nothing in retaining"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            {"name": "hamu-q", "constraint_split": "exact", "constraint_fraction": 0.2},
            "Guaranteed: every step",
        ),
        ({"name": "gdiff"}, None),
    ],
)
def test_what_the_card_says_of_the_steps(
    method: dict[str, Any], words: str | None, resident: Resident, folder: Path
) -> None:
    run = done(cheap_run(method=method), resident, folder)
    card = (folder / "README.md").read_text()
    assert ("uaranteed: " in card) == (words is not None)
    assert (FREE in card) == (words is not None)
    if words:
        assert run.outcome.guaranteed
        assert words in card
        assert "The constraint requires 20.0 % of it" in card
