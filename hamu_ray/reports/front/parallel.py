"""The front of more than two objectives as parallel coordinates: an axis for each, on which better is higher."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from hamu_ray.reports.front.scene import FAINT, FrontPlot, PlottedTrial, Series
from hamu_ray.reports.front.traces import INK, MUTED, Figure, figure, line
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.wording import number

OFF_FRONT = 0.3
"""Opacity of trials that are not on the front."""
BREAK = (math.nan, math.nan)
"""Ends a line, so that one trace draws several."""

Hover = Callable[[PlottedTrial], str]
"""Returns the hover text of a trial."""


def parallel_figure(plot: FrontPlot, height: int, most: int, hover: Hover) -> Figure:
    """Return the figure: a line for each trial, for the knee, and for the original (O) and reference (R) models.

    Args:
        plot: the layout, with any number of objectives.
        height: in pixels.
        most: how many trials of a method are drawn off the front; larger sets are subsampled.
        hover: returns the hover text of a trial.
    """
    data: list[Figure] = []
    if plot.others:
        others = [PlottedTrial(trial, point, False) for trial, point in plot.others]
        style = {**_texts(plot, others, hover), "opacity": OFF_FRONT}
        corners = joined(plot, [one.point for one in others])
        data.append(line(corners, MUTED, 1, plot.others_label, "dot", **style))
    for one in plot.series:
        data += _method_lines(plot, one, most, hover)
    if plot.knee:
        data.append(line(joined(plot, [plot.knee]), INK, 4, "knee", opacity=0.45))
    for letter, name, point in plot.anchors:
        letters = {"mode": "lines+text", "text": [letter], "textposition": "middle left", "cliponaxis": False}
        style = {**letters, "textfont": {"color": INK, "size": 15}}
        data.append(line(joined(plot, [point]), INK, 1.2, f"{letter}: {name}", "dot", **style))
    return figure(data, height, hovermode="closest", **_axes(plot))


def joined(plot: FrontPlot, points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the corners of the lines of points, with a break after each."""
    return [corner for point in points for corner in (*enumerate(map(float, plot.scaled(point))), BREAK)]


def _method_lines(plot: FrontPlot, one: Series, most: int, hover: Hover) -> Iterator[Figure]:
    """Yield a method's trials off the front, those without the search's constraints fainter, and those on it."""
    trials = [trial for trial in one.trials if not trial.on_front]
    trials = trials[:: math.ceil(len(trials) / most) or 1]
    group: Figure = {"meta": {"method": one.method}, "legendgroup": escape(one.method)}
    for missed, opacity in ((True, FAINT), (False, OFF_FRONT)):
        if off := [trial for trial in trials if bool(trial.missed) is missed]:
            style = {**group, **_texts(plot, off, hover), "showlegend": False, "opacity": opacity}
            points = joined(plot, [trial.point for trial in off])
            yield line(points, one.style.css, 1, one.method, one.style.dash, **style)
    front = [trial for trial in one.trials if trial.on_front]
    length = len(plot.axes) + 1
    symbols = [one.style.marker + "-open" * trial.hollow for trial in front for _ in range(length)]
    marker = {
        "symbol": symbols or one.style.marker,
        "size": 9,
        "color": one.style.css,
        "line": {"color": INK, "width": 1},
    }
    points = joined(plot, [trial.point for trial in front]) or [BREAK]
    style = {**group, **_texts(plot, front, hover), "mode": "lines+markers", "marker": marker}
    yield line(points, one.style.css, 2, one.method, one.style.dash, **style)


def _texts(plot: FrontPlot, trials: Sequence[PlottedTrial], hover: Hover) -> Figure:
    texts = [text for trial in trials for text in (*[hover(trial)] * len(plot.axes), "")]
    return {"hoverinfo": None, "hovertext": texts, "hovertemplate": "%{hovertext}<extra></extra>"}


def _axes(plot: FrontPlot) -> Figure:
    """Return an axis for each objective, with the worst and the best value on it."""
    drawn = [point for _, point in plot.others] + [point for _, _, point in plot.anchors]
    drawn += [trial.point for one in plot.series for trial in one.trials]
    ends = [
        {
            **{"x": at, "y": (value - worse) / (best - worse), "text": number(value)},
            **{"yanchor": anchor, "yshift": shift, "showarrow": False, "font": {"size": 11, "color": MUTED}},
        }
        for at, (worse, best) in enumerate(plot.ends)
        if (found := [point[at] for point in drawn if math.isfinite(point[at])])
        for value, anchor, shift in zip(
            sorted([min(found), max(found)], reverse=worse > best), ("top", "bottom"), (-6, 6), strict=True
        )
    ]
    names = [escape(name) for name in plot.axes]
    across = {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.3, len(names) - 0.7]}
    return {
        "xaxis": {**across, "title": {"text": ""}, "gridwidth": 2, "showline": False, "ticks": ""},
        "yaxis": {"visible": False, "range": [-0.09, 1.09], "title": {"text": ""}},
        "annotations": ends,
    }
