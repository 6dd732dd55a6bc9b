import csv
import math

import pytest

from hamu_ray.config.search import MetricBounds
from hamu_ray.reports.front.tables import describe, write_csv
from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.trial import Status
from tests.made_records import record, small_summary


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def summary():
    return small_summary()


class TestCsv:
    def test_one_row_a_front_point(self, summary, tmp_path):
        written = rows(write_csv(tmp_path / "deep" / "front.csv", summary, summary.front))
        assert [row["trial_id"] for row in written] == ["b", "c", "a"]
        first, middle, last = written
        assert list(first)[:6] == [
            "trial_id",
            "method",
            "status",
            "place",
            "forget_quality",
            "retain_utility",
        ]
        assert (first["method"], first["avg_gap"], first["TA"]) == ("ft", "0.125", "0.9")
        assert (middle["place"], middle["status"], middle["avg_gap"]) == ("knee", "finished", "")
        assert (last["method.constraint_ratio"], last["model_path"]) == ("0.25", "/models/a")
        assert [p.name for p in (tmp_path / "deep").iterdir()] == ["front.csv"]

    def test_all_trials(self, summary, tmp_path):
        written = rows(write_csv(tmp_path / "trials.csv", summary, summary.trials))
        assert [row["place"] for row in written] == ["front", "front", "knee", "", "", "", ""]
        assert written[5]["reason"] == "boom | bang\nmore"
        assert math.isnan(float(written[6]["forget_quality"]))

    def test_what_a_trial_misses(self, tmp_path):
        trials = [
            record("a", 0.9, 0.5),
            record("b", 0.5, 0.9),
            record("c", 0.1, 0.1, status=Status.COLLAPSED),
        ]
        summary = summarise(trials, constraints={"retain_utility": MetricBounds(min=0.8)})
        written = rows(write_csv(tmp_path / "trials.csv", summary, summary.trials))
        assert [(row["place"], row["misses"]) for row in written] == [
            ("", "retain_utility >= 0.8"),
            ("knee", ""),
            ("", ""),
        ]
        assert "1 of the finished do not meet retain_utility >= 0.8" in describe(summary)

    def test_full_precision(self, tmp_path):
        summary = summarise([record("a", 1 / 3, 0.1 + 0.2)])
        (row,) = rows(write_csv(tmp_path / "front.csv", summary, summary.front))
        assert (float(row["forget_quality"]), float(row["retain_utility"])) == (1 / 3, 0.1 + 0.2)

    def test_no_trials(self, tmp_path):
        summary = summarise([])
        assert rows(write_csv(tmp_path / "front.csv", summary, summary.front)) == []


class TestDescription:
    def test_the_counts_of_all_statuses(self, summary):
        text = describe(summary)
        assert "Front: 3 of 7 trials" in text
        assert "7 trials: 5 finished, 1 collapsed, 1 failed" in text
        assert "- `a`: `/models/a`" in text
        assert r"| f | hamu-q | failed | boom \| bang more |" in text

    def test_long_reasons_are_cut(self):
        text = describe(summarise([record("a", 0, 0, status=Status.FAILED, reason="x" * 5000)]))
        assert len(text) < 600

    def test_an_empty_front_is_reported(self):
        assert "the front is empty" in describe(summarise([]))

    def test_an_original_that_did_not_know_is_reported(self, summary):
        assert "nothing to forget" not in describe(summary).lower()
        trials = [record("a", 0.9, 0.5, nothing_to_forget="nothing to forget: it is 0.93")]
        assert "**Nothing to forget: it is 0.93.**" in describe(summarise(trials))

    def test_means_over_seeds(self, summary):
        assert "Over seeds" not in describe(summary)
        trials = [record(f"{seed}", 0.8 + seed / 10, 0.5, parameters={"seed": seed}) for seed in (0, 1)]
        text = describe(summarise(trials))
        assert "Over seeds" in text
        assert "| hamu-q | optimizer.learning_rate = 0.01 | 2 | 0.8500 [" in text


def test_trials_that_are_not_guaranteed_are_marked(tmp_path):
    trials = [
        record("a", 0.9, 0.5, steps_outside_guarantee=3),
        record("b", 0.5, 0.9, steps_outside_guarantee=0),
    ]
    summary = summarise([*trials, record("c", 0.8, 0.8, "ft")])
    written = rows(write_csv(tmp_path / "trials.csv", summary, summary.trials))
    assert [row["steps_outside_guarantee"] for row in written] == ["3", "0", ""]
    text = describe(summary)
    assert "- `a`, not guaranteed: `not kept`" in text
    assert "- `b`: `not kept`" in text


def test_methods_without_a_guarantee_have_no_column(summary, tmp_path):
    written = rows(write_csv(tmp_path / "trials.csv", summary, summary.trials))
    assert "steps_outside_guarantee" not in written[0]
