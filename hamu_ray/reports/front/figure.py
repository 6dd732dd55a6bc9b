"""The Pareto front as one plotly figure, used on the report page and as a standalone file that works offline."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from hamu_ray.metrics.attacks.names import DURABILITY
from hamu_ray.reports.front.palette import LIGHT
from hamu_ray.reports.front.parallel import parallel_figure
from hamu_ray.reports.front.scene import (
    FAINT,
    GUARANTEED_FRONT,
    NOT_GUARANTEED,
    FrontPlot,
    PlottedTrial,
    Series,
    compose,
)
from hamu_ray.reports.front.traces import GRID, INK, MUTED, Figure, axis, figure, line, markers, resolved
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.summary import SweepSummary, method_of, settings_of
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import DEFINITIONS, counted, last_word, number, setting

MOST_POINTS = 3000
"""Maximum number of points drawn per method off the front; larger sets are subsampled."""
HEIGHT = 520
FONT = "Helvetica, Arial, sans-serif"
ANCHOR_SYMBOL = {"O": "star", "R": "star-open"}


def front_figure(plot: FrontPlot) -> Figure:
    """Return the figure: fronts, trials by method, the knee, and the original (O) and reference (R) models.

    More than two objectives are drawn as parallel coordinates.
    """
    if len(plot.axes) > 2:
        return parallel_figure(plot, HEIGHT, MOST_POINTS, lambda one: hover_text(plot, one))
    data = [trace for one in plot.series for trace in _seed_points(one)]
    for one in plot.series:
        if one.stairs:
            style = {"dash": one.style.dash, "opacity": 0.55, **_of_method(one.method)}
            data.append(line(one.stairs, one.style.css, 1, one.method, showlegend=False, **style))
    if plot.stairs:
        data.append(line(plot.stairs, INK, 2, "Pareto front"))
    if plot.hollow:
        ring = {"symbol": "circle-open", "size": 10, "color": INK}
        data.append(markers([(None, None)], [], ring, NOT_GUARANTEED))
    if plot.guaranteed_stairs:
        data.append(line(plot.guaranteed_stairs, INK, 1.5, GUARANTEED_FRONT, "dash"))
    if plot.others:
        cross: Figure = {"symbol": "x-thin", "size": 7, "line": {"color": MUTED, "width": 1.5}}
        texts = [hover_text(plot, PlottedTrial(trial, point, False)) for trial, point in plot.others]
        data.append(markers([point for _, point in plot.others], texts, cross, plot.others_label))
    data += [_method_points(plot, one) for one in plot.series]
    data += _anchors(plot)
    if plot.knee:
        ring = {"symbol": "circle-open", "size": 25, "color": INK, "line": {"width": 2}}
        data.append(markers([plot.knee], [], ring, "knee"))
    axes = {
        f"{letter}axis": axis(escape(name), range=list(ends))
        for letter, name, ends in zip("xy", plot.axes, plot.limits, strict=True)
    }
    return figure(data, HEIGHT, hovermode="closest", **axes)


def write_html(path: Path | str, summary: SweepSummary, definitions: Mapping[str, str] = DEFINITIONS) -> Path:
    """Write the front of a summary as one self-contained HTML file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing = go.Figure(resolved(_standalone(compose(summary, definitions)), LIGHT))
    drawing.write_html(path, include_plotlyjs=True, config={"displaylogo": False, "responsive": True})
    return path


def hover_text(plot: FrontPlot, one: PlottedTrial) -> str:
    """Return the hover text of a trial: method, trial, objectives, sampled values and status."""
    trial, means = one.trial, one.means
    lines = [f"<b>{escape(method_of(trial))}</b>  {escape(trial.trial_id)}", _coordinates(plot, one.point)]
    if DURABILITY in trial.measures:
        lines.append(f"{DURABILITY} {number(trial.measures[DURABILITY])}")
    lines += [f"{escape(last_word(k))} {escape(setting(v))}" for k, v in settings_of(trial).items()]
    if means is not None and len(means.seeds) > 1:
        lines.append(f"mean over seeds {', '.join(map(str, means.seeds))}; bars: 95 % intervals")
    else:
        lines.append(_ended(trial))
    if one.hollow:
        lines.append(f"{NOT_GUARANTEED}: {counted(trial.steps_outside_guarantee or 0, 'step')} outside")
    if trial.cloned_from:
        lines.append(f"started from {escape(trial.cloned_from)}")
    if one.missed:
        lines.append(f"does not meet {escape(' and '.join(one.missed))}")
    return "<br>".join(lines)


def _ended(trial: TrialRecord) -> str:
    return f"{trial.status}: {escape(trial.reason[:80])}" if trial.reason else str(trial.status)


def _coordinates(plot: FrontPlot, point: Point) -> str:
    return "<br>".join(f"{escape(name)} {number(v)}" for name, v in zip(plot.axes, point, strict=True))


def _of_method(method: str) -> Figure:
    """Return the trace attributes of a method, so that both legends toggle all of its traces at once."""
    return {"meta": {"method": method}, "legendgroup": escape(method)}


def _seed_points(one: Series) -> Iterator[Figure]:
    """Yield the individual trials behind means over seeds, small and faint."""
    points = [point for plotted in one.trials if plotted.means for point in plotted.means.points]
    if 0 < len(points) <= MOST_POINTS:
        faint = {"symbol": one.style.marker, "size": 4, "color": one.style.css, "opacity": 0.4}
        name = f"{one.method}, single seeds"
        yield markers(points, [], faint, name, showlegend=False, **_of_method(one.method))


def _method_points(plot: FrontPlot, one: Series) -> Figure:
    """Return a method's trials; points on the front are larger, and means have their intervals."""
    off = [plotted for plotted in one.trials if not plotted.on_front]
    every = math.ceil(len(off) / MOST_POINTS) or 1
    kept = off[::every] + [plotted for plotted in one.trials if plotted.on_front]
    symbols = [one.style.marker + "-open" * plotted.hollow for plotted in kept]
    marker = {
        "symbol": symbols if any(plotted.hollow for plotted in kept) else one.style.marker,
        "color": one.style.css,
        "size": [13 if plotted.on_front else 8 for plotted in kept],
        "opacity": [1.0 if one.on_front else FAINT if one.missed else 0.55 for one in kept],
        "line": {"color": INK, "width": [_edge(plotted) for plotted in kept]},
    }
    texts = [hover_text(plot, plotted) for plotted in kept]
    points = [plotted.point for plotted in kept]
    bars = dict(_error_bars(kept, one.style.css))
    return markers(points, texts, marker, one.method, **_of_method(one.method), **bars)


def _edge(plotted: PlottedTrial) -> float:
    """Return the line width of a marker's edge; a hollow marker consists of its edge only."""
    return (2.4 if plotted.hollow else 1.2) if plotted.on_front else (1.6 if plotted.hollow else 0.5)


def _error_bars(trials: Sequence[PlottedTrial], colour: str) -> Iterator[tuple[str, Figure]]:
    """Yield the half widths of the 95 % intervals over seeds for each axis that has any."""
    for i, key in enumerate(("error_x", "error_y")):
        intervals = [one.means.intervals[i] if one.means else None for one in trials]
        widths = [one.high - one.mean if one else math.nan for one in intervals]
        if any(map(math.isfinite, widths)):
            yield key, {"type": "data", "array": widths, "color": colour, "thickness": 1, "width": 3}


def _anchors(plot: FrontPlot) -> Iterator[Figure]:
    """Yield the original and the reference model, labelled O and R."""
    for letter, name, point in plot.anchors:
        star = {
            "symbol": ANCHOR_SYMBOL[letter],
            "size": 15,
            "color": INK,
            "line": {"width": 1.5, "color": INK},
        }
        text = f"<b>{letter}</b>: {name}<br>{_coordinates(plot, point)}"
        letters = {"text": [letter], "textposition": "top center", "textfont": {"color": INK, "size": 15}}
        more: Any = {**letters, "mode": "markers+text", "cliponaxis": False}
        yield markers([point], [text], star, f"{letter}: {name}", **more)


def _standalone(plot: FrontPlot) -> Figure:
    """Return the figure with title, legend, definitions of the objectives and notes."""
    drawing = front_figure(plot)
    frame = {"gridcolor": GRID, "zeroline": False, "showline": True, "linecolor": INK, "ticks": "outside"}
    layout = drawing["layout"]
    for key, text in zip(("xaxis", "yaxis"), plot.definitions if len(plot.axes) == 2 else (), strict=False):
        small = f"<br><span style='font-size:12px;color:{LIGHT['muted']}'>{escape(text)}</span>"
        layout[key] |= {**frame, "title": {"text": layout[key]["title"]["text"] + small}}
    corner = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"}
    notes = {"text": "<br>".join(map(escape, plot.notes)), "yshift": -72, "showarrow": False, "align": "left"}
    del layout["height"]  # fill the height of the window
    layout |= {
        "template": "plotly_white",
        "title": {"text": escape(plot.title), "x": 0.02, "font": {"size": 17}},
        "font": {"family": FONT, "size": 14, "color": INK},
        "legend": {"x": 1.02, "y": 1, "itemsizing": "constant"},
        "margin": {"l": 90, "r": 30, "t": 70, "b": 85 + 18 * len(plot.notes)},
        "hoverlabel": {"bgcolor": "white", "align": "left"},
        "annotations": [
            *layout.get("annotations", ()),
            {**corner, **notes, "font": {"size": 12, "color": MUTED}},
        ],
    }
    return drawing
