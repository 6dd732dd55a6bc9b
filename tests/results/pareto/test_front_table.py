import math

from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.pareto.table import counts_line, front_table
from tests.made_records import record, small_summary


def test_by_hand():
    front = front_table(small_summary())
    assert front.title.startswith("Front: 3 of 7 trials, hypervolume 0.7400")
    assert front.caption == "7 trials: 5 finished, 1 collapsed, 1 failed; * is the knee."
    assert front.header[:5] == ["", "trial", "method", "forget quality", "retain utility"]
    assert [row[:3] for row in front.rows] == [["", "b", "ft"], ["*", "c", "hamu-q"], ["", "a", "hamu-q"]]
    assert [row[3] for row in front.rows] == ["0.5000", "0.8000", "0.9000"]
    assert [row[:5] for row in front.anchors] == [
        ["O", "", "original", "0.0120", "0.9810"],
        ["R", "", "retain-only", "1.0000", "0.9780"],
    ]
    assert {len(row) for row in [*front.rows, *front.anchors]} == {len(front.header)}


def test_an_empty_front_is_reported():
    front = front_table(summarise([record("g", math.nan, 1.0)]))
    assert "the front is empty" in front.title
    assert front.rows == []
    assert counts_line(summarise([])) == "0 trials"


def test_equal_points_share_a_row():
    same = [record(f"same{n}", 0.0, 1.0) for n in range(12)]
    summary = summarise([*same, record("other", 0.9, 0.8)])
    assert len(summary.front) == 13
    front = front_table(summary)
    assert [row[1] for row in front.rows] == ["same0 +11", "other"]
    assert "+n: n other" in front.caption


def test_what_is_not_guaranteed_is_marked():
    outside = {"a": 3, "b": 0, "c": None}
    points = {"a": (0.9, 0.5), "b": (0.5, 0.9), "c": (0.8, 0.8)}
    front = front_table(
        summarise([record(name, *points[name], steps_outside_guarantee=n) for name, n in outside.items()])
    )
    assert {row[1]: row[0] for row in front.rows} == {"a": "\N{WHITE CIRCLE}", "b": "", "c": "*"}
    assert "\N{WHITE CIRCLE} not guaranteed" in front.caption
    assert "guaranteed" not in front_table(small_summary()).caption


def test_hyperparameters_with_the_same_last_word_keep_their_paths():
    parameters = {"training.learning_rate": 0.1}
    front = front_table(summarise([record("a", 0.5, 0.5, parameters=parameters)]))
    assert front.header[-2:] == ["optimizer.learning rate", "training.learning rate"]
