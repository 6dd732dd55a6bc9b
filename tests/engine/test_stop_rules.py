import math
from pathlib import Path
from typing import Any

import pytest
from cheap_runs import Done, cheap_run, done, same_bits

from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.files.tensors import load_tensors, save_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.results.outcome import Status

Bases = tuple[StoredModel, StoredModel]

PAPER = {
    "name": "hamu-q",
    "constraint_ratio": 0.5,
    "constraint_split": "grad_norm",
    "infeasible": "least_step",
}
"""HAMU with the paper's constraint and shares, which its stopping criterion was made for."""


@pytest.fixture(scope="module")
def half_class(resident: Resident, bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Forget half of class 0 and as many other images, from a model at which both gradients are large.

    The gradients of a converged original are so small that the criterion stops any run before its first step.
    """
    original, reference = ({"path": str(base.path)} for base in bases)
    sections = {
        "reference": reference,
        "forget": {"kind": "class", "label": 0, "rho": 0.5},
        "stop": {"collapse_ratio": None},
        "duration": {"steps": 10},
    }
    run = cheap_run(
        **{**sections, "duration": {"steps": 4}},
        original=original,
        optimizer={"learning_rate": 0.02},
        method=PAPER,
    )
    folder = tmp_path_factory.mktemp("half-forgotten")
    done(run, resident, folder)
    return {**sections, "original": {"path": str(folder)}}


RATIOS = (0.6, 0.7, 0.8, 0.4, 0.5, 0.9, 0.3, 0.2)
"""Which of them meets the criterion on the way depends on the processor, on which the original was trained."""


def test_criterion_keeps_the_weights_of_the_last_step_before(
    resident: Resident, folder: Path, half_class: dict[str, Any]
) -> None:
    def hamu(ratio: float) -> dict[str, Any]:
        optimizer = {"learning_rate": 0.01, "momentum": 0.9}
        return {"method": {**PAPER, "constraint_ratio": ratio}, "optimizer": optimizer}

    for ratio in RATIOS:
        free = done(cheap_run(**half_class, **hamu(ratio)), resident, folder.with_name(f"free-{ratio}"))
        margins = free.recorder.history["stopping_margin"]
        taken = next((index for index, margin in enumerate(margins) if margin < 0), 0)
        if taken:
            break
    assert taken, "no run meets the criterion after its first step"
    stopping = {**half_class, "stop": {"criterion": True, "collapse_ratio": None}}
    stopped = done(cheap_run(**stopping, **hamu(ratio)), resident, folder.with_name("stopped"))
    short = {**half_class, "duration": {"steps": taken}}
    just_before = done(cheap_run(**short, **hamu(ratio)), resident, folder.with_name("just-before"))
    assert stopped.outcome.status is Status.FINISHED
    assert stopped.outcome.reason.startswith("stopping criterion")
    assert stopped.outcome.steps == taken
    assert same_bits(stopped.weights, just_before.weights)
    assert stopped.outcome.measures == just_before.outcome.measures
    assert stopped.recorder.history["stopping_margin"] == margins[: taken + 1], "the refused step is the last"


def test_criterion_never_stops_methods_without_one(resident: Resident, folder: Path) -> None:
    run = cheap_run(method={"name": "gdiff"}, stop={"criterion": True})
    assert done(run, resident, folder).outcome.steps == 4


def test_infeasible_stops_where_configured(resident: Resident, folder: Path, bases: Bases) -> None:
    impossible = {"name": "hamu-q", "radius": 1e-6, "constraint": 1.0, "constraint_split": "uniform"}
    stopped = done(cheap_run(method={**impossible, "infeasible": "stop"}), resident, folder)
    assert stopped.outcome.status is Status.INFEASIBLE
    assert "constraint" in stopped.outcome.reason
    assert stopped.outcome.steps == 0
    assert stopped.outcome.measures["retain_accuracy"] == bases[0].measures["retain_accuracy"]
    assert same_bits(stopped.weights, load_tensors(bases[0].path)[0])
    assert stopped.recorder.history["infeasible_blocks"][0] > 0
    ended = done(
        cheap_run(method={**impossible, "infeasible": "finish"}), resident, folder.with_name("finish")
    )
    assert (ended.outcome.status, ended.outcome.steps) == (Status.FINISHED, 0)
    assert "constraint" in ended.outcome.reason
    assert same_bits(ended.weights, stopped.weights)
    skipped = done(cheap_run(method={**impossible, "infeasible": "skip"}), resident, folder.with_name("skip"))
    assert skipped.outcome.status is Status.FINISHED
    assert skipped.outcome.steps == 4


@pytest.mark.parametrize("side", ["retain", "forget"])
def test_loss_above_stops_at_the_first_evaluation_that_sees_it(
    side: str, resident: Resident, folder: Path
) -> None:
    forgetting = {"method": {"name": "ga"}, "optimizer": {"learning_rate": 0.3}, "duration": {"steps": 5}}
    watched = {"evaluation": {"every_steps": 1, "subset": 200}, "stop": {"collapse_ratio": None}}
    free = done(cheap_run(**forgetting, **watched), resident, folder)
    losses = [report.measures[f"{side}_loss"] for report in free.recorder.of("unlearning") if report.step < 5]
    limit = (losses[3] + max(losses[:3])) / 2
    assert losses[3] > max(losses[:3])
    watched["stop"] = {"collapse_ratio": None, f"{side}_loss_above": limit}
    stopped = done(cheap_run(**forgetting, **watched), resident, folder.with_name("stopped"))
    assert stopped.outcome.status is Status.FINISHED
    assert stopped.outcome.reason.startswith(f"{side} loss")
    assert stopped.outcome.steps == 3
    assert "mia_confidence" in stopped.outcome.measures, "measured in full at the end"


def test_the_reference_s_forget_loss_ends_any_method(resident: Resident, folder: Path, bases: Bases) -> None:
    forgetting = {"method": {"name": "gdiff"}, "optimizer": {"learning_rate": 0.1}, "duration": {"steps": 30}}
    watched = {"evaluation": {"every_steps": 1, "subset": 1000}}
    free = done(cheap_run(**forgetting, **watched, stop={"collapse_ratio": None}), resident, folder)
    level = bases[1].measures["forget_loss"]
    losses = {r.step: r.measures["forget_loss"] for r in free.recorder.of("unlearning") if r.measures}
    reached = next(step for step, loss in losses.items() if loss >= level)
    assert 1 < reached < 30
    stopped = done(
        cheap_run(**forgetting, **watched, stop={"forget_level": "reference"}),
        resident,
        folder.with_name("stopped"),
    )
    assert (stopped.outcome.status, stopped.outcome.steps) == (Status.FINISHED, reached)
    assert stopped.outcome.reason == f"forget loss {losses[reached]:.4g} reached the reference's {level:.4g}"
    assert "mia_confidence" in stopped.outcome.measures, "measured in full at the end"
    assert stopped.outcome.measures["forget_loss"] < max(losses.values()), "it would have gone on"
    # A model that is already at the reference's level has nothing to forget: no step is taken.
    there = {"original": {"path": str(stopped.folder)}, "reference": {"path": str(bases[1].path)}}
    at_once = done(
        cheap_run(**forgetting, **watched, **there, stop={"forget_level": "reference"}),
        resident,
        folder.with_name("at-once"),
    )
    assert (at_once.outcome.status, at_once.outcome.steps) == (Status.FINISHED, 0)
    assert same_bits(at_once.weights, stopped.weights)


@pytest.mark.parametrize(
    ("name", "ratio", "infeasible", "learning_rate", "steps"),
    [("hamu-q", 0.2, "least_step", 0.03, 60), ("hamu-u", 0.02, "skip", 0.1, 30)],
)
def test_with_a_target_forgetting_ends_near_the_reference(
    name: str,
    ratio: float,
    infeasible: str,
    learning_rate: float,
    steps: int,
    resident: Resident,
    folder: Path,
    bases: Bases,
) -> None:
    start, level = (base.measures["forget_loss"] for base in bases)
    method = {"name": name, "constraint_ratio": ratio, "infeasible": infeasible}
    forgetting = {
        "optimizer": {"learning_rate": learning_rate},
        "duration": {"steps": steps},
        "stop": {"collapse_ratio": None},
    }
    free = done(cheap_run(**forgetting, method=method), resident, folder)
    held = done(
        cheap_run(**forgetting, method={**method, "target": "reference"}),
        resident,
        folder.with_name("held"),
    )
    assert free.outcome.measures["forget_loss"] > 1.9 * level, "without a target it goes on"
    assert held.outcome.measures["forget_loss"] == pytest.approx(level, rel=0.35)
    assert held.outcome.measures["retain_loss"] < free.outcome.measures["retain_loss"]
    losses = held.recorder.history["step_forget_loss"]
    remaining = [min(max((level - loss) / (level - start), 0), 1) for loss in losses]
    asked = held.recorder.history["constraint"]
    if name == "hamu-q":
        assert asked == pytest.approx(
            [ratio * learning_rate * part for part in remaining], rel=1e-4, abs=1e-7
        )
    else:
        assert asked[0] == pytest.approx(ratio * learning_rate, rel=0.01)


def assert_collapsed_honestly(run: Done) -> None:
    """A collapsed model is kept with finite weights, and none of its metrics looks good."""
    assert run.outcome.status is Status.COLLAPSED
    assert all(value.isfinite().all() for value in run.weights.values())
    assert not run.outcome.measures["retain_utility"] > 0.5


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["hamu-q", "ga"])
def test_huge_steps_collapse(method: str, optimizer: str, resident: Resident, folder: Path) -> None:
    run = cheap_run(
        method={"name": method},
        optimizer={"name": optimizer, "learning_rate": 1e30},
        stop={"collapse_ratio": None},
    )
    collapsed = done(run, resident, folder)
    assert_collapsed_honestly(collapsed)
    assert "not finite" in collapsed.outcome.reason
    assert collapsed.outcome.steps < 4


def test_a_collapsed_original_is_reported_before_the_first_step(
    resident: Resident, folder: Path, bases: Bases, tmp_path: Path
) -> None:
    tensors, _ = load_tensors(bases[0].path)
    tensors["conv.weight"][0, 0, 0, 0] = math.inf
    save_tensors(tmp_path / "broken.safetensors", tensors)
    run = cheap_run(original={"path": str(tmp_path / "broken.safetensors")})
    collapsed = done(run, resident, folder)
    assert collapsed.outcome.status is Status.COLLAPSED
    assert collapsed.outcome.steps == 0
    assert math.isnan(collapsed.outcome.measures["retain_utility"])
    assert same_bits(collapsed.weights, tensors)


def test_lost_skill_is_a_collapse(resident: Resident, folder: Path, bases: Bases) -> None:
    """The threshold is a ratio of perplexities: it lies between those of two steps."""
    ascent = {"method": {"name": "ga"}, "optimizer": {"learning_rate": 1.0}, "duration": {"steps": 6}}
    watched = {"evaluation": {"every_steps": 1, "subset": 200}}
    free = done(cheap_run(**ascent, **watched, stop={"collapse_ratio": None}), resident, folder)
    evaluated = [report for report in free.recorder.of("unlearning") if report.measures]
    losses = [report.measures["retain_loss"] for report in evaluated]
    lost = next(k for k in range(2, len(losses)) if losses[k] > 6 + max(losses[:k]))
    ratio = math.exp((losses[lost] + max(losses[:lost])) / 2 - bases[0].measures["retain_loss"])
    stop = {"collapse_ratio": ratio}
    collapsed = done(cheap_run(**ascent, **watched, stop=stop), resident, folder.with_name("collapsed"))
    assert_collapsed_honestly(collapsed)
    assert collapsed.outcome.reason.startswith(f"retain perplexity more than {ratio:g} times")
    assert collapsed.outcome.steps == evaluated[lost].step
