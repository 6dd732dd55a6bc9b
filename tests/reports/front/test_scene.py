import itertools
import math

from hamu_ray.config.search import MetricBounds
from hamu_ray.reports.front.scene import SeedMeans, compose, inside
from hamu_ray.results.pareto.front import Interval
from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.trial import Status
from tests.made_records import METHODS, record, sweep
from tests.reports.front.summaries import COLLAPSED, SUMMARIES


def test_points_that_miss_a_constraint_are_faint_and_bound_no_front() -> None:
    trials = [record("a", 0.2, 0.9), record("b", 0.8, 0.5), record("c", 0.1, 0.95, "npo")]
    scene = compose(summarise(trials, constraints={"retain_utility": MetricBounds(min=0.8)}))
    drawn = {
        one.trial.trial_id: (one.missed, one.on_front) for series in scene.series for one in series.trials
    }
    assert drawn == {"a": ((), True), "b": (("retain_utility >= 0.8",), False), "c": ((), True)}
    assert all(series.stairs == () for series in scene.series), "the others have one point each"
    assert "Faint: 1 trial that did not meet retain_utility >= 0.8." in scene.notes


def test_the_front_is_a_staircase():
    scene = compose(summarise([record("a", 0.2, 0.9), record("b", 0.8, 0.5), record("c", 0.1, 0.1)]))
    low = scene.limits[0][0]
    expected = [(low, 0.9), (0.2, 0.9), (0.2, 0.5), (0.8, 0.5), (0.8, scene.limits[1][0])]
    assert scene.stairs == tuple(expected)


def test_stairs_go_along_the_axes(summary):
    for (x0, y0), (x1, y1) in itertools.pairwise(compose(summary).stairs):
        assert x0 == x1 or y0 == y1


def test_every_finished_trial_is_in_the_picture(summary):
    scene = compose(summary)
    points = [plotted.point for one in scene.series for plotted in one.trials]
    assert all(inside(point, scene.limits) for point in points)


def test_whole_axes_unless_all_is_close_together():
    whole = compose(SUMMARIES["nine methods"])
    assert whole.limits[0][0] < 0 < 1 < whole.limits[0][1]
    assert whole.notes == ()
    close = compose(SUMMARIES["close together"])
    assert close.limits[0][0] > 0.9
    assert close.notes[0].startswith("Close-up: forget quality 0.97")
    assert "O, the original, at (0.012, 0.981)" in close.notes[1]
    assert "2 of the trials" in close.notes[2]


def test_places_on_the_axes_of_three_objectives():
    scene = compose(SUMMARIES["three objectives"])
    assert scene.stairs == scene.guaranteed_stairs == ()
    assert all(one.stairs == () for one in scene.series)
    worst, best = (tuple(ends[side] for ends in scene.ends) for side in (0, 1))
    assert (scene.scaled(worst), scene.scaled(best)) == ((0, 0, 0), (1, 1, 1))
    assert [low < high for low, high in scene.ends] == [True, False, True], "a lower gap is better"
    marks = {one.trial.trial_id: one.on_front for series in scene.series for one in series.trials}
    assert marks["b"]
    assert not marks["a1b2c_00000"]


def test_equal_trials_have_room():
    scene = compose(summarise([record("a", 0.5, 0.5), record("b", 0.5, 0.5)]))
    assert scene.limits[0][1] - scene.limits[0][0] > 0.01


def test_others_are_at_their_place_when_it_is_known():
    trials = [COLLAPSED, record("y", math.nan, 0.1, status=Status.FAILED)]
    assert [point for _, point in compose(summarise(trials)).others] == [(0.3, 0.1)]


def test_a_model_without_measures_is_left_out():
    assert compose(summarise([], original={"retain_utility": 0.9})).anchors == ()


def test_each_of_several_methods_has_its_own_front():
    trials = [record("a", 0.2, 0.9), record("b", 0.8, 0.5), record("c", 0.1, 0.1)]
    (alone,) = compose(summarise(trials)).series
    assert alone.stairs == ()
    both = compose(summarise([*trials, record("d", 0.9, 0.95, "npo")]))
    dominated, single = both.series
    low = both.limits[0][0]
    assert dominated.stairs[:3] == ((low, 0.9), (0.2, 0.9), (0.2, 0.5))
    assert single.stairs == ()
    assert both.stairs[:2] == ((low, 0.95), (0.9, 0.95))


def test_styles_depend_on_the_methods_given_and_not_on_those_that_finished():
    trials = [one for one in sweep() if one.parameters["method.name"] in ("npo", "scrub")]
    scene = compose(summarise(trials), methods=METHODS)
    assert {one.method: one.style.index for one in scene.series} == {"npo": 3, "scrub": 5}


def test_means_stay_with_their_trials():
    means = SeedMeans((0, 1), (Interval(0.5, 0.4, 0.6),) * 2, ((0.4, 0.4), (0.6, 0.6)))
    (series,) = compose(summarise([record("a", 0.5, 0.5), record("b", 0.1, 0.9)]), means={"a": means}).series
    assert [one.means for one in series.trials] == [means, None]


def guaranteed_front(*trials):
    scene = compose(summarise([record(*trial, steps_outside_guarantee=n) for trial, n in trials]))
    return scene, [point for point in scene.guaranteed_stairs if point in {trial[1:3] for trial, _ in trials}]


def test_a_second_front_leaves_out_what_is_not_guaranteed():
    kept, broke, none = ("a", 0.5, 0.5), ("b", 0.9, 0.9), ("c", 0.8, 0.2, "ga")
    scene, corners = guaranteed_front((kept, 0), (broke, 4), (none, None))
    assert corners == [kept[1:3], none[1:3]], "methods that guarantee nothing count"
    assert scene.hollow
    assert [one.hollow for series in scene.series for one in series.trials] == [False, False, True]
    assert "Hollow: not guaranteed" in scene.notes[-1]


def test_there_is_no_second_front_where_it_would_say_nothing():
    broke = ("b", 0.9, 0.9)
    for others in [(("c", 0.8, 0.95, "ga"), None), (("d", 0.5, 0.5), 2)]:
        scene, corners = guaranteed_front((broke, 4), others)  # nothing is guaranteed
        assert (scene.hollow, corners) == (True, [])
    scene, corners = guaranteed_front((broke, 0), (("d", 0.5, 0.5), 2))  # the front is guaranteed
    assert (scene.hollow, corners) == (True, [])
    scene, corners = guaranteed_front((broke, 0), (("c", 0.8, 0.95, "ga"), None))
    assert (scene.hollow, corners) == (False, [])
    assert not any("Hollow" in note for note in scene.notes)
