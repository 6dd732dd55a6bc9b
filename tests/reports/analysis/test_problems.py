"""Which trials are compared: problems, configurations over seeds, fronts of means."""

import math
import statistics
from pathlib import Path

import pytest

from hamu_ray.reports.analysis.problems import Problem, problems_of
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.tracking.reader import MlflowReader
from tests.made_store import ORIGINAL, REFERENCE, SPACE, fill, made_record, points, sweep_config, uri_of


def problems(store: Path, experiment: str) -> list[Problem]:
    return problems_of(MlflowReader.open(uri_of(store), store).sweeps(experiment))


@pytest.fixture(scope="module")
def seeded(study: SweepResult) -> Problem:
    (problem,) = problems_of([study])
    return problem


def test_configurations_are_equal_but_for_the_seed(seeded: Problem) -> None:
    assert seeded.title == "digits, class 0 forgotten, resnet20"
    assert seeded.seeds == (41, 42, 43)
    finished = [m.record for m in seeded.trials if m.ended == "finished"]
    assert sum(len(one.trials) for one in seeded.groups) == len(finished)
    for one in seeded.groups:
        assert one.seeds == (41, 42, 43)
        assert len({repr(m.record.parameters | {"seed": 0}) for m in one.trials}) == 1


def test_means_and_intervals_over_seeds(seeded: Problem) -> None:
    one = seeded.groups[0]
    for objective, interval in zip(seeded.objectives, one.intervals, strict=True):
        values = [m.record.measures[objective.metric] for m in one.trials]
        half = 4.302653 * statistics.stdev(values) / math.sqrt(3)  # Student's t, 2 degrees of freedom
        assert interval.mean == pytest.approx(statistics.fmean(values))
        assert interval.high - interval.mean == pytest.approx(half, rel=1e-5)
        assert one.record.measures[objective.metric] == pytest.approx(interval.mean)
    assert math.isnan(one.record.measures["auc_loss_forget_test"]), "undefined for one seed, so for the mean"


def test_the_front_is_of_means(seeded: Problem) -> None:
    assert seeded.front
    assert seeded.knee in seeded.front
    for one in seeded.front:
        for other in seeded.groups:
            gains = [o.mean - s.mean for o, s in zip(other.intervals, one.intervals, strict=True)]
            assert not (min(gains) >= 0 and max(gains) > 0), "nobody beats a point of the front"


def test_bases_are_read_from_the_trials_records(seeded: Problem) -> None:
    assert seeded.original == pytest.approx(ORIGINAL)
    assert seeded.reference == pytest.approx(REFERENCE)


def test_single_trials_stay_what_they_are(store: Path) -> None:
    space = {"optimizer.learning_rate": {"loguniform": [0.003, 0.3]}}
    fill(store, sweep_config(space, search={"samples": 4}), name="single seeds", experiment="single seeds")
    (problem,) = problems(store, "single seeds")
    assert {c.record.trial_id for c in problem.groups} == {"0000", "0001", "0002", "0003"}
    assert all(math.isnan(c.intervals[0].low) for c in problem.groups)


def test_another_forget_set_is_another_problem(store: Path) -> None:
    space = {"method.name": {"grid": ["hamu-q", "ga"]}, "forget.rho": {"grid": [0.0, 0.5]}}
    fill(store, sweep_config(space), name="rho", experiment="rho")
    found = problems(store, "rho")
    assert [problem.title for problem in found] == ["forget.rho = 0.0", "forget.rho = 0.5"]
    assert [len(problem.trials) for problem in found] == [2, 2]
    assert found[1].reference == pytest.approx(REFERENCE)


def test_sweeps_on_one_problem_share_a_front(store: Path) -> None:
    """A sweep of HAMU and a later one of a baseline: their trials are distinguished by the sweep's letter."""
    for name, method in (("first", "hamu-q"), ("second", "gdiff")):
        space = {**SPACE, "method.name": {"grid": [method]}}
        if method == "gdiff":
            del space["method.constraint_ratio"]
        fill(store, sweep_config(space, method={"name": method}), name=name, experiment="together")
    (problem,) = problems(store, "together")
    assert problem.methods == ("gdiff", "hamu-q")
    assert len({m.record.trial_id for m in problem.trials}) == len(problem.trials) == 18 + 9
    letters = {method_of(m.record): m.record.trial_id[0] for m in problem.trials}
    assert letters == {"hamu-q": "A", "gdiff": "B"}


def test_a_trial_that_ran_twice_is_no_second_seed(store: Path) -> None:
    config = sweep_config()
    point = points(config)[0]
    records = [made_record(i, config, point, store / "sweeps" / "twice") for i in range(2)]
    fill(store, config, name="twice", experiment="twice", records=records)
    (problem,) = problems(store, "twice")
    (one,) = problem.groups
    assert one.seeds == (41,)
    assert math.isnan(one.intervals[0].low)
