import itertools
import math
import re

import pytest
from matplotlib.image import imread

from hamu_ray.reports.front.palette import MARKERS, OKABE_ITO
from hamu_ray.reports.front.picture import MATPLOTLIB_MARKERS, write_html, write_png
from hamu_ray.reports.front.scene import compose, inside
from hamu_ray.results.summary import summarise
from hamu_ray.results.trial import Status
from tests.made_records import ORIGINAL, REFERENCE, record, sweep

COLLAPSED = record("x", 0.3, 0.1, "ga", Status.COLLAPSED, reason="<perplexity>")

SUMMARIES = {
    "nine methods": summarise(sweep(), original=ORIGINAL, reference=REFERENCE),
    "close together": summarise(sweep(tight=True), original=ORIGINAL, reference=REFERENCE),
    "one trial": summarise([record("a", 0.8, 0.9)], original=ORIGINAL, reference=REFERENCE),
    "none finished": summarise([COLLAPSED], original=ORIGINAL),
    "no trial": summarise([]),
    "minimised": summarise(
        [record("a", 0, 0.9, measures={"avg_gap": 0.2}), record("b", 0, 0.8, measures={"avg_gap": 0.1})],
        [("avg_gap", "min"), ("retain_utility", "max")],
    ),
}
every_summary = pytest.mark.parametrize("summary", SUMMARIES.values(), ids=SUMMARIES.keys())


class TestScene:
    def test_the_front_is_a_staircase(self):
        scene = compose(summarise([record("a", 0.2, 0.9), record("b", 0.8, 0.5), record("c", 0.1, 0.1)]))
        low = scene.limits[0][0]
        expected = [(low, 0.9), (0.2, 0.9), (0.2, 0.5), (0.8, 0.5), (0.8, scene.limits[1][0])]
        assert scene.stairs == tuple(expected)

    @every_summary
    def test_stairs_go_along_the_axes(self, summary):
        for (x0, y0), (x1, y1) in itertools.pairwise(compose(summary).stairs):
            assert x0 == x1 or y0 == y1

    @every_summary
    def test_every_finished_trial_is_in_the_picture(self, summary):
        scene = compose(summary)
        assert all(inside(point, scene.limits) for series in scene.series for point in series.points)

    def test_whole_axes_unless_all_is_close_together(self):
        whole = compose(SUMMARIES["nine methods"])
        assert whole.limits[0][0] < 0 < 1 < whole.limits[0][1]
        assert whole.notes == ()
        close = compose(SUMMARIES["close together"])
        assert close.limits[0][0] > 0.9
        assert close.notes[0].startswith("Close-up: forget quality 0.97")
        assert "O, the original, at (0.012, 0.981)" in close.notes[1]
        assert "2 of the trials" in close.notes[2]

    def test_equal_trials_have_room(self):
        scene = compose(summarise([record("a", 0.5, 0.5), record("b", 0.5, 0.5)]))
        assert scene.limits[0][1] - scene.limits[0][0] > 0.01

    def test_methods_are_told_apart(self):
        trials = [record(f"{i}", 0.5, i / 40, f"method {i}") for i in range(40)]
        looks = {(one.colour, one.marker, one.filled) for one in compose(summarise(trials)).series}
        assert len(looks) == 40

    def test_others_are_at_their_place_when_it_is_known(self):
        trials = [COLLAPSED, record("y", math.nan, 0.1, status=Status.FAILED)]
        assert [point for _, point in compose(summarise(trials)).others] == [(0.3, 0.1)]

    def test_a_model_without_measures_is_left_out(self):
        assert compose(summarise([], original={"retain_utility": 0.9})).anchors == ()

    def test_every_marker_has_a_name_in_both_libraries(self):
        assert set(MARKERS) == set(MATPLOTLIB_MARKERS)
        assert len(set(OKABE_ITO)) == 7


class TestFiles:
    @every_summary
    def test_png(self, summary, tmp_path):
        picture = imread(write_png(tmp_path / "deep" / "front.png", summary))
        height, width = picture.shape[:2]
        assert width > 1200
        assert height > 900
        for edge in (picture[:8], picture[-8:], picture[:, :8], picture[:, -8:]):  # nothing is cut
            assert (edge[..., :3] == 1).all()

    def test_html_opens_offline(self, tmp_path):
        page = write_html(tmp_path / "deep" / "front.html", SUMMARIES["nine methods"]).read_text()
        assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"[^\"]", page)
        assert "plotly.js v" in page

    @every_summary
    def test_html_tells_what_each_trial_is(self, summary, tmp_path):
        page = write_html(tmp_path / "front.html", summary).read_text()
        for trial in summary.trials:
            if all(map(math.isfinite, summary.point(trial.measures))):
                assert trial.trial_id in page

    def test_text_of_trials_is_no_markup(self, tmp_path):
        page = write_html(tmp_path / "front.html", SUMMARIES["none finished"]).read_text()
        assert "<perplexity>" not in page

    def test_own_definitions(self, tmp_path):
        definitions = {"forget_quality": "in other words"}
        page = write_html(tmp_path / "front.html", SUMMARIES["one trial"], definitions).read_text()
        assert "in other words" in page
