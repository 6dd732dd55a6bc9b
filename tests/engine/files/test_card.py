"""A model card states whether the steps were guaranteed, and how hard the problem was."""

import json
import math
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
        assert "The constraint requires 20.0 % of it" in card


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


@pytest.mark.parametrize(
    ("forget", "kind", "words"),
    [
        ({"kind": "class", "label": 0}, "none", "the forget accuracy of a model that never saw the class"),
        (
            {"kind": "random", "share": 0.1},
            "held_out",
            "the original's losses on test data stand for its losses",
        ),
    ],
)
def test_what_stands_for_a_missing_reference_is_said(
    forget: dict[str, Any], kind: str, words: str, resident: Resident, folder: Path
) -> None:
    run = cheap_run(forget=forget, reference={"source": "none"}, duration={"steps": 1})
    ended = done(run, resident, folder)
    assert ended.outcome.reference_kind == kind
    card = (folder / "README.md").read_text()
    assert f"The reference is missing: {words}" in card
    assert math.isnan(ended.outcome.measures["forget_quality"]) == (kind == "none")
    assert math.isnan(ended.outcome.measures["forget_accuracy_quality"]) == (kind == "held_out")
