import math
from dataclasses import replace

import pytest

from hamu_ray.config.search import MetricBounds, Objective
from hamu_ray.results.outcome import StepPoint
from hamu_ray.results.pareto.summary import method_of, over_seeds, summarise
from hamu_ray.results.trial import Status
from hamu_ray.selection.answer import group_of
from tests.made_records import ORIGINAL, record, small_summary


@pytest.fixture
def summary():
    return small_summary()


class TestSummarise:
    def test_by_hand(self, summary):
        assert [trial.trial_id for trial in summary.front] == ["b", "c", "a"]
        assert summary.knee.trial_id == "c"
        assert summary.hypervolume == pytest.approx(0.5 * 0.9 + 0.3 * 0.8 + 0.1 * 0.5)
        assert summary.best_corner == (1, 0.981)
        assert summary.hypervolume_share == pytest.approx(summary.hypervolume / 0.981)

    def test_every_status_is_counted(self, summary):
        counts = {status: n for status, n in summary.counts.items() if n}
        assert counts == {Status.FINISHED: 5, Status.COLLAPSED: 1, Status.FAILED: 1}
        assert set(summary.counts) == set(Status)

    @pytest.mark.parametrize("status", [status for status in Status if status is not Status.FINISHED])
    def test_only_finished_trials_are_on_the_front(self, status):
        summary = summarise([record("best", 1.0, 1.0, status=status), record("worse", 0.1, 0.1)])
        assert [trial.trial_id for trial in summary.front] == ["worse"]
        assert summary.place(summary.trials[0]) == ""

    @pytest.mark.parametrize(
        "trials", [[], [record("x", 1, 1, status=Status.FAILED)], [record("x", math.nan, 1)]]
    )
    def test_a_front_may_be_empty(self, trials):
        summary = summarise(trials)
        assert (summary.front, summary.knee, summary.hypervolume) == ((), None, 0)

    def test_the_front_of_the_trials_that_meet_the_constraints(self):
        """A point may be on it that one which misses a constraint on another metric would dominate."""
        trials = [
            record("a", 0.9, 0.9, measures={"mia_auc": 0.7}),
            record("b", 0.8, 0.85, measures={"mia_auc": 0.5}),
            record("c", 1.0, 0.5, measures={"mia_auc": 0.5}),
            record("d", 0.7, 0.9),
            record("e", 0.1, 0.1, status=Status.COLLAPSED),
        ]
        constraints = {"retain_utility": MetricBounds(min=0.85), "mia_auc": MetricBounds(max=0.55)}
        summary = summarise(trials, constraints=constraints)
        assert [trial.trial_id for trial in summary.front] == ["b"]
        assert summary.hypervolume == pytest.approx(0.8 * 0.85)
        missed = {trial.trial_id: summary.missed(trial) for trial in trials}
        assert missed == {
            "a": ["mia_auc <= 0.55"],
            "b": [],
            "c": ["retain_utility >= 0.85"],
            "d": ["mia_auc <= 0.55"],
            "e": [],
        }, (
            "a metric that was not measured is not in its range; how a trial ended comes before its constraints"
        )
        assert summary.outside_constraints == 3
        assert summary.bounds == "retain_utility >= 0.85 and mia_auc <= 0.55"

    def test_objectives_to_minimise(self):
        trials = [
            record("a", 0, 0.9, measures={"avg_gap": 0.2}),
            record("b", 0, 0.8, measures={"avg_gap": 0.3}),
        ]
        objectives = Objective(metric="avg_gap", mode="min"), Objective(metric="retain_utility")
        summary = summarise(trials, objectives, original=ORIGINAL)
        assert [trial.trial_id for trial in summary.front] == ["a"]
        assert summary.best_corner == (0, 0.981)
        assert summary.hypervolume == pytest.approx(0.8 * 0.9)

    @pytest.mark.parametrize(
        ("metric", "corner"),
        [("retain_accuracy", 0.97), ("retain_prob", 0.9), ("forget_accuracy_quality", 1.0), ("entropy", 1.0)],
    )
    def test_the_box_reaches_to_the_originals_skill_and_else_to_one(self, metric, corner):
        objectives = Objective(metric="forget_quality"), Objective(metric=metric)
        original = {
            "retain_accuracy": 0.97,
            "retain_prob": 0.9,
            "forget_accuracy_quality": 0.1,
            "entropy": 0.5,
        }
        assert summarise([], objectives, original=original).best_corner == (1, corner)

    def test_each_sentence_on_the_gate_once(self):
        trials = [record("a", 1, 1, nothing_to_forget=word) for word in ("x", "", "y", "x")]
        assert summarise(trials).nothing_to_forget == ("x", "y")

    def test_method_sampled_or_configured(self):
        trial = record("a", 1, 1, "npo")
        assert method_of(trial) == "npo"
        del trial.parameters["method.name"]
        assert method_of(trial) == "npo"


class TestOverSeeds:
    def test_groups_differ_in_their_seed_alone(self):
        trials = [record(f"{seed}", 0.8 + seed / 10, 0.5, parameters={"seed": seed}) for seed in (0, 1)]
        trials += [record("other", 0.1, 0.1, "ft", parameters={"seed": 0})]
        trials += [record("bad", 0.1, 0.1, parameters={"seed": 2}, status=Status.COLLAPSED)]
        summary = summarise(trials)
        (group,) = over_seeds(summary)
        assert (group.method, group.trials) == ("hamu-q", 2)
        assert group.parameters == {"optimizer.learning_rate": 0.01}
        assert group.intervals[0].mean == pytest.approx(0.85)

    def test_no_seeds_no_groups(self, summary):
        assert over_seeds(summary) == []

    def test_units_are_those_of_the_whole_sweep(self):
        """A configuration that finished with one of the trainings alone has no interval over trainings."""
        runs = [(0.01, 1, 41), (0.01, 1, 42), (0.02, 1, 41), (0.02, 2, 41)]
        trials = [
            record(
                f"{number}",
                0.5 + 0.1 * number,
                0.5,
                parameters={"optimizer.learning_rate": rate, "training.seed": training, "seed": seed},
            )
            for number, (rate, training, seed) in enumerate(runs)
        ]
        one, both = over_seeds(summarise(trials))
        assert (one.trials, both.trials) == (2, 2)
        assert one.intervals[0].mean == pytest.approx(0.55)
        assert math.isnan(one.intervals[0].low)
        assert math.isfinite(both.intervals[0].low)

    def test_a_point_on_the_way_is_in_no_group(self):
        """The means of a group are those of its trials' ends."""
        runs = [record(f"000{seed}", 0.8, 0.5, parameters={"seed": seed}) for seed in (0, 1)]
        point = StepPoint(2, {"forget_quality": 0.9, "retain_utility": 0.4})
        trials = [replace(runs[0], points=(point,)), runs[1]]
        summary = summarise(trials)
        end, way = trials[0].candidates
        assert way.trial_id == "0000@2"
        assert group_of(summary, end) is not None
        assert group_of(summary, way) is None
