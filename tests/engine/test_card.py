"""A model card states whether the steps were guaranteed, and how hard the problem was."""

import json
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
def test_the_cards_description_of_the_steps(
    method: dict[str, Any], words: str | None, resident: Resident, folder: Path
) -> None:
    run = done(cheap_run(method=method), resident, folder)
    card = (folder / "README.md").read_text()
    assert ("uaranteed: " in card) == (words is not None)
    assert (FREE in card) == (words is not None)
    if words:
        assert run.outcome.guaranteed
        assert words in card
        assert "The constraint asks for 20.0 % of it" in card


@pytest.mark.parametrize(("rho", "known"), [(0.0, True), (1.0, False)])
def test_nothing_to_forget_is_reported(rho: float, known: bool, resident: Resident, folder: Path) -> None:
    """A model trained without a random forget set of digits knows it as well as the original."""
    forget = {"kind": "class", "label": 0, "rho": rho}
    run = done(cheap_run(forget=forget, duration={"steps": 0}), resident, folder)
    quality = run.outcome.measures["forget_quality"]
    assert (quality <= 0.8) == known
    assert (run.outcome.nothing_to_forget == "") == known
    assert (
        "**Nothing to forget: before unlearning, the original's forget_quality is"
        in (folder / "README.md").read_text()
    ) != known
    written = json.loads((folder / "outcome.json").read_text())
    assert written["nothing_to_forget"] == run.outcome.nothing_to_forget
