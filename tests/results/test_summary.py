import csv
import io
import math

import pytest
from rich.console import Console

from hamu_ray.reports.front.tables import counts_line, describe, front_table, write_csv
from hamu_ray.results.summary import method_of, over_seeds, summarise
from hamu_ray.results.trial import Status
from tests.made_records import ORIGINAL, REFERENCE, record, sweep


def in_terminal(summary, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(front_table(summary))
    return console.file.getvalue()


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def summary():
    trials = [
        record("a", 0.9, 0.5, parameters={"method.constraint_ratio": 0.25}, model_path="/models/a"),
        record("b", 0.5, 0.9, "ft", measures={"avg_gap": 0.125, "TA": 0.9}),
        record("c", 0.8, 0.8, reason="all steps"),
        record("d", 0.4, 0.4),
        record("e", 1.0, 1.0, status=Status.COLLAPSED, reason="perplexity"),
        record("f", math.nan, 1.0, status=Status.FAILED, reason="boom | bang\nmore"),
        record("g", math.nan, 1.0),
    ]
    return summarise(trials, original=ORIGINAL, reference=REFERENCE)


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
    def test_only_finished_trials_stand_on_the_front(self, status):
        summary = summarise([record("best", 1.0, 1.0, status=status), record("worse", 0.1, 0.1)])
        assert [trial.trial_id for trial in summary.front] == ["worse"]
        assert summary.place(summary.trials[0]) == ""

    @pytest.mark.parametrize(
        "trials", [[], [record("x", 1, 1, status=Status.FAILED)], [record("x", math.nan, 1)]]
    )
    def test_an_empty_front_is_said(self, trials):
        summary = summarise(trials)
        assert (summary.front, summary.knee, summary.hypervolume) == ((), None, 0)
        assert "the front is empty" in describe(summary)
        assert "the front is empty" in " ".join(in_terminal(summary).split())

    def test_objectives_to_minimise(self):
        trials = [
            record("a", 0, 0.9, measures={"avg_gap": 0.2}),
            record("b", 0, 0.8, measures={"avg_gap": 0.3}),
        ]
        summary = summarise(trials, [("avg_gap", "min"), ("retain_utility", "max")], original=ORIGINAL)
        assert [trial.trial_id for trial in summary.front] == ["a"]
        assert summary.best_corner == (0, 0.981)
        assert summary.hypervolume == pytest.approx(0.8 * 0.9)

    def test_unknown_mode(self):
        with pytest.raises(ValueError, match="max or min, found 'most'"):
            summarise([], [("a", "most"), ("b", "max")])

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
        assert "Over seeds" in describe(summary)

    def test_no_seeds_no_groups(self, summary):
        assert over_seeds(summary) == []
        assert "Over seeds" not in describe(summary)


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

    def test_full_precision(self, tmp_path):
        summary = summarise([record("a", 1 / 3, 0.1 + 0.2)])
        (row,) = rows(write_csv(tmp_path / "front.csv", summary, summary.front))
        assert (float(row["forget_quality"]), float(row["retain_utility"])) == (1 / 3, 0.1 + 0.2)

    def test_no_trials(self, tmp_path):
        summary = summarise([])
        assert rows(write_csv(tmp_path / "front.csv", summary, summary.front)) == []


class TestTerminal:
    def test_a_row_each_for_the_front_the_original_and_the_reference(self, summary):
        lines = in_terminal(summary).splitlines()
        (knee,) = [line for line in lines if line.lstrip().startswith("*")]
        assert knee.split() == ["*", "c", "hamu-q", "0.8000", "0.8000", "-", "0.01"]
        assert any("original" in line and "0.0120" in line and "0.9810" in line for line in lines)
        assert any("retain-only" in line and "1.0000" in line for line in lines)
        assert counts_line(summary) in lines[-1]

    def test_a_real_sweep_fits_eighty_columns(self):
        text = in_terminal(summarise(sweep(), original=ORIGINAL, reference=REFERENCE))
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text


class TestDescription:
    def test_says_what_became_of_all(self, summary):
        text = describe(summary)
        assert "Front: 3 of 7 trials" in text
        assert "7 trials: 5 finished, 1 collapsed, 1 failed" in text
        assert "- `a`: `/models/a`" in text
        assert r"| f | hamu-q | failed | boom \| bang more |" in text

    def test_long_reasons_are_cut(self):
        text = describe(summarise([record("a", 0, 0, status=Status.FAILED, reason="x" * 5000)]))
        assert len(text) < 600


def test_equal_points_take_one_row_of_the_table() -> None:
    same = [record(f"same{n}", 0.0, 1.0) for n in range(12)]
    summary = summarise([*same, record("other", 0.9, 0.8)])
    assert len(summary.front) == 13
    assert summary.knee is not None
    shown = in_terminal(summary, width=120)
    assert "same0 +11" in shown
    assert "same5" not in shown
    assert "+n: as many" in shown
    assert "| same0 +11 |" in describe(summary)
