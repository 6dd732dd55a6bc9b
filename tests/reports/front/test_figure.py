import json
import math
import re

import plotly.graph_objects as go

from hamu_ray.reports.front.figure import front_figure, write_html
from hamu_ray.reports.front.palette import DARK, LIGHT
from hamu_ray.reports.front.scene import SeedMeans, compose
from hamu_ray.reports.front.traces import resolved
from hamu_ray.results.pareto.front import Interval
from hamu_ray.results.pareto.summary import summarise
from tests.made_records import record
from tests.reports.front.summaries import SUMMARIES


def named(figure, name):
    return [trace for trace in figure["data"] if trace["name"] == name]


def test_plotly_takes_the_figure_in_both_themes(summary):
    figure = front_figure(compose(summary))
    for theme in (LIGHT, DARK):
        drawing = go.Figure(resolved(figure, theme))  # raises for invalid properties
        assert "var(" not in drawing.to_json()


def test_every_trial_with_finite_objectives_has_a_hover_text(summary, tmp_path):
    texts = json.dumps(front_figure(compose(summary))["data"])
    page = write_html(tmp_path / "front.html", summary).read_text()
    for trial in summary.trials:
        if all(map(math.isfinite, summary.point(trial.measures))):
            assert trial.trial_id in texts
            assert trial.trial_id in page


def test_colours_are_those_of_the_methods():
    plot = compose(SUMMARIES["nine methods"])
    figure = resolved(front_figure(plot), LIGHT)
    for one in plot.series:
        (trace,) = [t for t in named(figure, one.method) if t["mode"] == "markers"]
        assert (trace["marker"]["color"], trace["marker"]["symbol"]) == (one.style.colour, one.style.marker)


def test_three_objectives_are_parallel_coordinates():
    plot = compose(SUMMARIES["three objectives"])
    figure = front_figure(plot)
    assert figure["layout"]["xaxis"]["ticktext"] == ["forget quality", "avg gap", "retain utility"]
    one = next(one for one in plot.series if one.method == "hamu-q")
    (trace,) = [t for t in named(figure, "hamu-q") if t["mode"] == "lines+markers"]
    front = [trial for trial in one.trials if trial.on_front]
    assert len(trace["x"]) == len(trace["hovertext"]) == len(trace["marker"]["symbol"]) == 4 * len(front)
    assert trace["y"][:3] == plot.scaled(front[0].point)
    assert math.isnan(trace["x"][3]), "a break between two trials"
    assert any(symbol.endswith("-open") for symbol in trace["marker"]["symbol"])
    ends = [(one["x"], one["y"], one["text"]) for one in figure["layout"]["annotations"]]
    assert len(ends) == 6


def test_hollow_trials_and_the_front_without_them():
    trials = [
        record("a", 0.2, 0.9, steps_outside_guarantee=0),
        record("b", 0.8, 0.8, steps_outside_guarantee=7),
        record("c", 0.3, 0.1, "ga"),
    ]
    figure = front_figure(compose(summarise(trials)))
    (points,) = [t for t in named(figure, "hamu-q") if t["mode"] == "markers"]
    symbols = dict(zip(points["x"], points["marker"]["symbol"], strict=True))
    assert symbols[0.8] == f"{symbols[0.2]}-open"
    assert [t.split("<br>")[-1] for t in points["hovertext"] if "not guaranteed" in t] == [
        "not guaranteed: 7 steps outside"
    ]
    (front,) = named(figure, "front without them")
    assert front["line"]["dash"] == "dash"
    assert 0.8 not in front["x"]
    assert len(named(figure, "not guaranteed")) == 1
    go.Figure(resolved(figure, LIGHT))


def test_all_traces_of_a_method_are_hidden_together():
    figure = front_figure(compose(SUMMARIES["nine methods"]))
    for trace in named(figure, "hamu-q"):
        assert trace["meta"] == {"method": "hamu-q"}
        assert trace["legendgroup"] == "hamu-q"
    assert len(named(figure, "hamu-q")) == 2, "its trials and its own front"


def test_means_have_bars_and_single_seeds():
    means = SeedMeans((0, 1), (Interval(0.5, 0.4, 0.6), Interval(0.5, 0.3, 0.7)), ((0.4, 0.4), (0.6, 0.6)))
    trials = [record("a", 0.5, 0.5), record("b", 0.1, 0.9)]
    figure = front_figure(compose(summarise(trials), means={"a": means}))
    (points,) = named(figure, "hamu-q")
    first, second = points["error_y"]["array"][::-1] if points["x"][0] == 0.1 else points["error_y"]["array"]
    assert abs(first - 0.2) < 1e-9
    assert math.isnan(second)
    assert "mean over seeds 0, 1" in " ".join(points["hovertext"])
    (seeds,) = named(figure, "hamu-q, single seeds")
    assert list(seeds["x"]) == [0.4, 0.6]


def test_html_opens_offline(tmp_path):
    page = write_html(tmp_path / "deep" / "front.html", SUMMARIES["nine methods"]).read_text()
    assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"[^\"]", page)
    assert "plotly.js v" in page


def test_text_of_trials_is_not_markup(tmp_path):
    page = write_html(tmp_path / "front.html", SUMMARIES["none finished"]).read_text()
    assert "<perplexity>" not in page


def test_own_definitions(tmp_path):
    definitions = {"forget_quality": "in other words"}
    page = write_html(tmp_path / "front.html", SUMMARIES["one trial"], definitions).read_text()
    assert "in other words" in page
