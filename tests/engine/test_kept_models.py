"""Models that a run keeps on its way: which, that they are those of shorter runs, and that a restart changes none."""

import math
from pathlib import Path

import pytest
from cheap_runs import Done, ReportList, cheap_run, done, same_bits
from torch import nn

from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.files.kept import NO_POINTS, KeptSteps, measure_kept, rewind_target, rewound
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import (
    CARD_FILE,
    HARDNESS_FILE,
    KEPT,
    MODEL_FILE,
    RUN_FILE,
    point_folder,
    read_outcome,
    read_reports,
)
from hamu_ray.results.outcome import Outcome, Report, Status, dump_reports
from hamu_ray.results.pareto.trajectory import Keeping

SECTIONS = {
    "optimizer": {"momentum": 0.9, "learning_rate": 0.03, "schedule": "cosine"},
    "evaluation": {"every_steps": 2, "subset": 100},
    "checkpoint": {"every_steps": 5},
    "method": {"name": "gdiff"},
}
RUN = cheap_run(duration={"steps": 12}, **SECTIONS)
KEEPING = Keeping(("forget_quality", "retain_utility"), (True, True), 2)


@pytest.fixture
def undisturbed(resident: Resident, folder: Path) -> Done:
    return done(RUN, resident, folder.with_name("undisturbed"), keeping=KEEPING)


def points_of(folder: Path) -> dict[str, bytes]:
    """The weights of a run's points, by their steps."""
    found = folder.parent.glob(f"{folder.name}@*/{MODEL_FILE}")
    return {path.parent.name.partition("@")[2]: path.read_bytes() for path in found}


def test_points_are_the_models_of_runs_that_end_there(
    resident: Resident, folder: Path, undisturbed: Done
) -> None:
    plain = done(RUN, resident, folder)
    assert same_bits(plain.weights, undisturbed.weights), "keeping changes nothing"
    assert plain.outcome.measures == undisturbed.outcome.measures
    points = undisturbed.outcome.points
    assert 1 <= len(points) <= 2
    assert read_outcome(folder.with_name("undisturbed")) == undisturbed.outcome
    for point in points:
        place = point_folder(folder.with_name("undisturbed"), point.step)
        run = load_run(place / RUN_FILE)
        assert run.stop.after_steps == point.step
        alone = done(run, resident, folder.with_name("alone"))
        assert same_bits(alone.weights, load_tensors(place / MODEL_FILE)[0])
        assert alone.outcome.measures == point.measures
        outcome = read_outcome(place)
        assert outcome is not None
        assert (outcome.status, outcome.steps, outcome.measures) == (
            Status.FINISHED,
            point.step,
            point.measures,
        )
        assert read_reports(place)[-1].measures == point.measures
    assert not (folder.with_name("undisturbed") / KEPT).exists()


@pytest.mark.parametrize("dies_at", [4, 6, 10])
def test_a_run_that_goes_on_keeps_the_same(
    dies_at: int, resident: Resident, folder: Path, undisturbed: Done
) -> None:
    with pytest.raises(ConnectionError):
        done(RUN, resident, folder, ReportList(dies_at=dies_at), keeping=KEEPING)
    assert list((folder / KEPT).glob("*/*")), "it had kept some"
    again = done(RUN, resident, folder, keeping=KEEPING)
    assert again.outcome.resumed_at == (5 if dies_at > 5 else 0)
    assert again.outcome.points == undisturbed.outcome.points
    assert points_of(folder) == points_of(folder.with_name("undisturbed")) != {}


def test_a_run_that_collapses_leaves_what_it_had_before(resident: Resident, folder: Path) -> None:
    sections = {**SECTIONS, "method": {"name": "ga"}, "optimizer": {"learning_rate": 0.2}}
    run = done(cheap_run(duration={"steps": 12}, **sections), resident, folder, keeping=KEEPING)
    assert run.outcome.status is Status.COLLAPSED
    assert run.outcome.points
    assert all(point.step < run.outcome.steps for point in run.outcome.points)


def test_a_run_that_pauses_has_points_until_there(
    resident: Resident, folder: Path, undisturbed: Done
) -> None:
    """Its model at the pause is one of them, since it may not be continued; they are gone once it is."""
    first = done(RUN, resident, folder, pauses=(6,), keeping=KEEPING)
    assert first.outcome.paused
    assert sorted(points_of(folder)) == [str(point.step) for point in first.outcome.points]
    assert first.outcome.points[-1].step == 6
    assert first.outcome.points[-1].measures == first.outcome.measures
    for point in first.outcome.points:
        place = point_folder(folder, point.step)
        alone = done(load_run(place / RUN_FILE), resident, folder.with_name(f"alone-{point.step}"))
        assert same_bits(alone.weights, load_tensors(place / MODEL_FILE)[0])
        assert alone.outcome.measures == point.measures
    again = done(RUN, resident, folder, keeping=KEEPING)
    assert again.outcome.points == undisturbed.outcome.points
    assert points_of(folder) == points_of(folder.with_name("undisturbed")) != {}


def test_large_models_keep_none_by_themselves(
    resident: Resident, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = Keeping(KEEPING.metrics, KEEPING.maximise, None)
    assert done(RUN, resident, folder, keeping=keeping).outcome.points
    monkeypatch.setattr("hamu_ray.engine.files.kept.SMALL", 1000)
    assert not done(RUN, resident, folder.with_name("large"), keeping=keeping).outcome.points


def test_a_model_that_is_gone_is_no_point(tmp_path: Path) -> None:
    """A process that was killed may have removed it for a later one, which the run that goes on does not reach."""
    model = nn.Linear(2, 1)
    kept = KeptSteps(tmp_path, KEEPING, Alone(), model)
    metrics = KEEPING.metrics
    reports = [
        Report("unlearning", step, 8, dict(zip(metrics, values, strict=True)))
        for step, values in ((2, (0.1, 0.9)), (4, (0.9, 0.1)))
    ]
    for report in reports:
        kept.offer(report.step, report.measures, model)
    kept.file(2).unlink()
    kept.recall(reports)
    end = Outcome(Status.PRUNED, "", 6, {}, 1.0, 12)
    found = measure_kept(kept, model, end, lambda _: reports[1].measures, lambda _: {})
    assert [one.point.step for one in found] == [4]


@pytest.mark.parametrize(
    ("accuracies", "target", "words"),
    [
        ((0.9, 0.5), 0.9, "not rewound: the model of step 2 is gone"),
        ((0.9, 0.5), math.nan, "not rewound: a forget accuracy or its target is not known"),
        ((math.nan, math.nan), 0.9, "not rewound: a forget accuracy or its target is not known"),
        ((0.9, 0.5), 0.5, ""),
    ],
)
def test_a_run_that_cannot_be_rewound_says_so(
    accuracies: tuple[float, float], target: float, words: str, folder: Path
) -> None:
    kept = KeptSteps(folder / KEPT, NO_POINTS, Alone(), nn.Linear(2, 1), every=True)
    measures = {"forget_quality": 0.5, "retain_utility": 0.5}
    kept.recall([Report("unlearning", 2, 4, {**measures, "forget_accuracy": accuracies[0]})])
    end = Outcome(Status.FINISHED, "all steps taken", 4, {"forget_accuracy": accuracies[1]}, 1.0, 8)
    found = rewound(kept, nn.Linear(2, 1), end, target, lambda _: {})
    assert found.reason == "; ".join(["all steps taken", *[words] * bool(words)])
    assert found.measures is end.measures


@pytest.mark.parametrize("rule", ["held_out", "reference"])
@pytest.mark.parametrize("keeping", [None, KEEPING])
def test_a_rewound_run_is_the_evaluation_nearest_to_its_target(
    rule: str, keeping: Keeping | None, resident: Resident, folder: Path
) -> None:
    """As in SCRUB+R: over the errors of all evaluations, with a stop at the chosen step as the second way there."""
    sections = {**SECTIONS, "method": {"name": "scrub", "phase_steps": 1, "forget_until": 0.7}}
    run = cheap_run(duration={"steps": 12}, stop={"rewind": rule}, **sections)
    plain = done(run.model_copy(update={"stop": RUN.stop}), resident, folder.with_name("plain"))
    found = done(run, resident, folder, keeping=keeping)
    curve = {r.step: r.measures for r in plain.recorder.of("unlearning") if r.step and r.measures}
    last = plain.outcome.measures
    reference = next(r.measures for r in plain.recorder.of("reference") if r.total_steps == 0)
    target = reference["forget_accuracy"]
    if rule == "held_out":
        target = last["test_forgotten_class_accuracy"]
    assert rewind_target(rule, last, reference) == target
    errors = {step: abs(measures["forget_accuracy"] - target) for step, measures in curve.items()}
    nearest = max(step for step, error in errors.items() if error == min(errors.values()))
    shorter = run.model_copy(update={"stop": RUN.stop.model_copy(update={"after_steps": nearest})})
    there = done(shorter, resident, folder.with_name("there"))
    assert same_bits(found.weights, there.weights)
    assert found.outcome.measures == there.outcome.measures
    assert (f"rewound to step {nearest}," in found.outcome.reason) == (nearest != 12)
    assert found.outcome.steps == 12
    assert not (folder / KEPT).exists()
    if keeping is None:
        assert not found.outcome.points


def test_points_have_the_history_of_runs_that_end_there(resident: Resident, folder: Path) -> None:
    """Their hardness and their guarantee are those of their own steps, not of the trial's or of an earlier report."""
    sections = {**SECTIONS, "method": {"name": "hamu-u"}, "optimizer": {"learning_rate": 0.03}}
    trial = done(cheap_run(duration={"steps": 12}, **sections), resident, folder, keeping=KEEPING)
    assert trial.outcome.points
    for point in trial.outcome.points:
        place, alone = point_folder(folder, point.step), folder.with_name(f"alone-{point.step}")
        shorter = done(load_run(place / RUN_FILE), resident, alone).outcome
        assert dump_reports(read_reports(place)) == dump_reports(read_reports(alone))
        assert (place / HARDNESS_FILE).read_bytes() == (alone / HARDNESS_FILE).read_bytes()
        sentences = [guarantee_and_hardness(each / CARD_FILE) for each in (place, alone)]
        assert sentences[0] == sentences[1] != []
        outcome = read_outcome(place)
        assert outcome is not None
        assert outcome.steps_outside_guarantee == shorter.steps_outside_guarantee is not None


def guarantee_and_hardness(card: Path) -> list[str]:
    return [line for line in card.read_text().splitlines() if "uaranteed: " in line and "first step" in line]
