"""Variance components: the expectation of the mean squares, intervals that cover, and the report of a nested design."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hamu_ray.reports.analysis.anytime import volume_curves
from hamu_ray.reports.analysis.comparison import volumes
from hamu_ray.reports.analysis.problems import Problem, problems_of
from hamu_ray.reports.analysis.variance import Components, components, variances
from hamu_ray.reports.page.page import render
from hamu_ray.results.pareto.front import Interval, mean_interval
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.reader import read_sweep
from tests.made_store import fill, made_record, points, sweep_config


def drawn(
    rng: np.random.Generator, sizes: list[int], training: float, unlearning: float
) -> dict[int, list[float]]:
    """Values of one configuration: a mean, an effect of each training, and one of each run."""
    centre = rng.normal(0, 5)
    return {
        number: (
            centre + rng.normal(0, math.sqrt(training)) + rng.normal(0, math.sqrt(unlearning), size)
        ).tolist()
        for number, size in enumerate(sizes)
    }


def test_estimates_are_unbiased_for_unequal_numbers() -> None:
    """Many configurations together: each has its own mean, and trainings of 1, 2 and 5 runs."""
    rng = np.random.default_rng(0)
    found = components(drawn(rng, [1, 2, 5, 2], training=2.0, unlearning=0.5) for _ in range(20_000))
    assert found is not None
    assert found.training == pytest.approx(2.0, rel=0.03)
    assert found.unlearning == pytest.approx(0.5, rel=0.03)
    assert found.share.mean == pytest.approx(0.8, abs=0.01)
    assert (found.trainings, found.runs) == (80_000, 200_000)


@pytest.mark.parametrize(("training", "unlearning"), [(1.0, 1.0), (0.0, 1.0), (4.0, 0.1)])
def test_the_interval_of_the_share_covers(training: float, unlearning: float) -> None:
    rng = np.random.default_rng(1)
    truth = training / (training + unlearning)
    covered = 0
    for _ in range(1000):
        found = components([drawn(rng, [3] * 5, training, unlearning)])
        assert found is not None
        covered += found.share.low - 1e-12 <= truth <= found.share.high + 1e-12
    level = 0.95 if training else 0.975  # at the boundary it cannot miss from above
    assert stats.binomtest(covered, 1000, level).pvalue > 1e-4


def test_the_mean_squares_are_those_of_a_one_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    values = drawn(rng, [4] * 6, training=1.0, unlearning=1.0)
    found = components([values])
    assert found is not None
    ratio = stats.f_oneway(*values.values()).statistic
    assert found.share.mean == pytest.approx((ratio - 1) / (ratio - 1 + 4))


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1, 1000))
def test_no_other_split_of_a_budget_is_more_precise(training: float, unlearning: float, cost: float) -> None:
    found = Components(training, unlearning, Interval(0, 0, 0), 2, 4)

    def variance(repeats: float) -> float:
        number = 1000 / (cost + repeats)
        return training / number + unlearning / (number * repeats)

    best = found.best_repeats(cost)
    assert best >= 1
    assert all(
        variance(best) <= variance(other) * (1 + 1e-9)
        for other in (1.0, best * 0.9, best * 1.1, 50.0)
        if other >= 1
    )


def test_what_cannot_be_estimated() -> None:
    assert components([]) is None
    assert components([{1: [0.1, 0.2, 0.3]}]) is None, "one training"
    assert components([{1: [0.1], 2: [0.2]}]) is None, "nothing is repeated"
    equal = components([{1: [0.5, 0.5], 2: [0.5, 0.5]}])
    assert equal is not None
    assert math.isnan(equal.share.mean)
    assert math.isnan(equal.best_repeats(10))
    none_by_training = components([{1: [0.0, 1.0], 2: [0.0, 1.0]}])
    assert none_by_training is not None
    assert (none_by_training.training, none_by_training.best_repeats(10)) == (0.0, math.inf)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two methods over three trainings and two unlearnings of each."""
    folder = tmp_path_factory.mktemp("nested")
    config = sweep_config(
        {
            "method.name": {"grid": ["hamu-q", "gdiff"]},
            "optimizer.learning_rate": {"grid": [0.03, 0.05]},
            "training.seed": {"grid": [1, 2, 3]},
            "seed": {"grid": [41, 42]},
        }
    )
    records = [made_record(number, config, point, folder) for number, point in enumerate(points(config))]
    fill(folder, config, name="nested", records=records)
    return folder / "sweeps" / "nested"


@pytest.fixture(scope="module")
def problem(nested: Path) -> Problem:
    (found,) = problems_of([read_sweep(nested)])
    return found


def test_trainings_are_the_units_of_a_nested_design(problem: Problem) -> None:
    assert problem.seeds == (1, 2, 3)
    assert len(problem.groups) == 4
    for group in problem.groups:
        assert len(group.trials) == 6
        assert group.seeds == (1, 2, 3)
        name = problem.objectives[0].metric
        means = [
            np.mean([m.record.measures[name] for m in group.trials if m.seed == seed]) for seed in group.seeds
        ]
        assert group.intervals[0] == pytest.approx(mean_interval(means))


def test_the_volume_of_a_training_is_the_mean_over_its_unlearnings(problem: Problem) -> None:
    """Not of the best of them, which would grow with their number."""
    curves = {curve.method: curve.points[-1][1].mean for curve in volume_curves(problem)}
    for volume in volumes(problem):
        for training, found in volume.by_seed.items():
            of_runs = [
                problem.of_trials(
                    m
                    for m in problem.trials
                    if method_of(m.record) == volume.method and m.seeds == f"{training}, {seed}"
                ).hypervolume
                for seed in (41, 42)
            ]
            assert found == pytest.approx(np.mean(of_runs))
        assert volume.interval.mean == pytest.approx(curves[volume.method]), "the curve ends there"


def test_every_method_and_objective_has_its_components(problem: Problem) -> None:
    found = variances(problem)
    assert [(one.method, one.metric) for one in found] == [
        (method, objective.metric) for method in ("gdiff", "hamu-q") for objective in problem.objectives
    ]
    assert {(one.components.trainings, one.components.runs) for one in found} == {(6, 12)}


def test_the_report_shows_them(nested: Path) -> None:
    page = render([read_sweep(nested)], "nested")
    assert "What the variance over seeds is due to" in page
    assert "1, 41" in page, "both seeds of a trial"


def test_intervals_over_unlearnings_of_one_training_say_so(tmp_path: Path) -> None:
    config = sweep_config(
        {"method.name": {"grid": ["gdiff"]}, "seed": {"grid": [41, 42]}}, training={"seed": 7}
    )
    fill(tmp_path, config, name="shared")
    page = render([read_sweep(tmp_path / "sweeps" / "shared")], "shared")
    assert "All trials share the models of training seed 7" in page


@pytest.mark.parametrize("training", [None, 7])
def test_repetitions_of_a_seed_are_not_other_unlearnings(training: int | None, tmp_path: Path) -> None:
    """A configuration that was drawn twice, or is in two sweeps, says nothing about either component."""
    config = sweep_config(
        {"method.name": {"grid": ["gdiff"]}, "seed": {"grid": [41, 42]}}, training={"seed": training}
    )
    for name in ("first", "second"):
        fill(tmp_path, config, name=name)
    (found,) = problems_of([read_sweep(tmp_path / "sweeps" / name) for name in ("first", "second")])
    assert [len(group.trials) for group in found.groups] == [4]
    assert variances(found) == []
