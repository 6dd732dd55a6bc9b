"""The picture of a sweep's front: PNG for paper, and one HTML file that opens offline and tells on hover."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hamu_ray.reports.front.scene import FrontPlot, compose, inside
from hamu_ray.results.summary import SweepSummary, method_of, settings_of
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import DEFINITIONS

INK, FAINT = "#222222", "#8a8a8a"
ANCHOR_FILL = {"O": INK, "R": "white"}
ANCHOR_SYMBOL = {"O": "star", "R": "star-open"}
MATPLOTLIB_MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "pentagon": "p",
    "hexagon": "h",
}
PAPER_DPI = 160
FONT = "Helvetica, Arial, sans-serif"


def write_png(
    path: Path | str,
    summary: SweepSummary,
    definitions: Mapping[str, str] = DEFINITIONS,
    dpi: int = PAPER_DPI,
) -> Path:
    """Draw a summary for paper, or smaller. `definitions` explain the objectives in small print, by their names."""
    scene = compose(summary, definitions)
    figure = Figure(figsize=(9.5, 6.4), facecolor="white")
    canvas = FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    axes = figure.subplots()
    _draw_points(axes, scene, {trial.trial_id for trial in summary.front})
    _draw_marks(axes, scene)
    _dress(axes, scene)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_figure(path, dpi=dpi, bbox_inches="tight", pad_inches=0.2)
    return path


def write_html(path: Path | str, summary: SweepSummary, definitions: Mapping[str, str] = DEFINITIONS) -> Path:
    """Draw a summary as one HTML file that needs no network; a trial under the mouse tells what it is."""
    scene = compose(summary, definitions)
    figure = go.Figure()
    front = {trial.trial_id for trial in summary.front}
    if scene.stairs:
        xs, ys = zip(*scene.stairs, strict=True)
        line = {"color": INK, "width": 1.5}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="front", hoverinfo="skip")
    if scene.others:
        marker: dict[str, Any] = {"symbol": "x-thin", "size": 9, "line": {"color": FAINT, "width": 1.5}}
        trials, points = zip(*scene.others, strict=True)
        _add_trials(figure, scene, trials, points, name=_others(scene), marker=marker)
    for one in scene.series:
        size = [13 if trial.trial_id in front else 9 for trial in one.trials]
        opacity = [1.0 if trial.trial_id in front else 0.6 for trial in one.trials]
        edge = {"color": INK, "width": [1.2 if trial.trial_id in front else 0.3 for trial in one.trials]}
        marker = {"color": one.colour, "size": size, "opacity": opacity}
        marker |= {"symbol": one.marker, "line": edge} if one.filled else {"symbol": f"{one.marker}-open"}
        _add_trials(figure, scene, one.trials, one.points, name=escape(one.method), marker=marker)
    for letter, name, (x, y) in scene.anchors:
        marker = {"symbol": ANCHOR_SYMBOL[letter], "color": INK, "size": 15}
        text = f"{name}<br>{_coordinates(scene, (x, y))}"
        hover = {"hovertext": [text], "hovertemplate": "%{hovertext}<extra></extra>"}
        figure.add_scatter(x=[x], y=[y], mode="markers", name=f"{letter}: {name}", marker=marker, **hover)
    if scene.knee:
        x, y = scene.knee
        marker = {"symbol": "circle-open", "color": INK, "size": 24, "line": {"width": 2}}
        figure.add_scatter(x=[x], y=[y], mode="markers", name="knee", marker=marker, hoverinfo="skip")
    _lay_out(figure, scene)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs=True, config={"displaylogo": False, "responsive": True})
    return path


def _draw_points(axes: Axes, scene: FrontPlot, front: set[str]) -> None:
    """Draw the step line and the trials, those of the front last and larger."""
    if scene.stairs:
        axes.plot(*zip(*scene.stairs, strict=True), color=INK, linewidth=1.3, zorder=2, label="front")
    for one in scene.series:
        fill, edge = (one.colour, INK) if one.filled else ("white", one.colour)
        style: dict[str, Any] = {"marker": MATPLOTLIB_MARKERS[one.marker], "color": fill, "edgecolors": edge}
        thick = 0.0 if one.filled else 1.2
        axes.scatter([], [], s=60, linewidths=0.6 + thick, label=one.method, **style)
        for trial, (x, y) in zip(one.trials, one.points, strict=True):
            if trial.trial_id in front:
                axes.scatter(x, y, s=90, linewidths=1.1 + thick, zorder=5, **style)
            else:
                axes.scatter(x, y, s=42, linewidths=0.3 + thick, alpha=0.6, zorder=3, **style)
    if scene.others:
        xs, ys = zip(*(point for _, point in scene.others), strict=True)
        axes.scatter(xs, ys, s=40, marker="x", color=FAINT, linewidths=1.1, zorder=2.5, label=_others(scene))


def _draw_marks(axes: Axes, scene: FrontPlot) -> None:
    """Draw the knee's ring, the original and the reference."""
    if scene.knee:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.6}
        axes.scatter(*scene.knee, s=330, zorder=6, **ring)
        axes.scatter([], [], s=150, label="knee", **ring)
    for letter, name, point in scene.anchors:
        star: dict[str, Any] = {"marker": "*", "color": ANCHOR_FILL[letter], "edgecolors": INK}
        axes.scatter(*point, s=210, linewidths=1.1, zorder=7, label=f"{letter}: {name}", **star)
        if inside(point, scene.limits):
            offset: dict[str, Any] = {
                "xytext": (0, 9),
                "textcoords": "offset points",
                "ha": "center",
                "va": "bottom",
            }
            axes.annotate(letter, point, color=INK, fontsize=11, fontweight="bold", zorder=8, **offset)


def _dress(axes: Axes, scene: FrontPlot) -> None:
    """Set limits, titles, legend and notes."""
    axes.set(xlim=scene.limits[0], ylim=scene.limits[1])
    axes.set_title(scene.title, loc="left", fontsize=12, color=INK, pad=12)
    small: dict[str, Any] = {"fontsize": 8.5, "color": "#555555", "annotation_clip": False}
    small["textcoords"] = "offset points"
    label = axes.set_xlabel(scene.axes[0], fontsize=12, color=INK)
    place: dict[str, Any] = {"xy": (0.5, 0), "xycoords": label, "xytext": (0, -4)}
    axes.annotate(scene.definitions[0], ha="center", va="top", **place, **small)
    label = axes.set_ylabel(scene.axes[1], fontsize=12, color=INK, labelpad=8)
    place = {"xy": (0, 0.5), "xycoords": label, "xytext": (-4, 0)}
    axes.annotate(scene.definitions[1], ha="right", va="center", rotation=90, **place, **small)
    place = {"xy": (0, 0), "xycoords": "axes fraction", "xytext": (0, -62), "linespacing": 1.5}
    axes.annotate("\n".join(scene.notes), ha="left", va="top", **place, **small)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, labelspacing=0.9, fontsize=10
        )


def _add_trials(figure: go.Figure, scene: FrontPlot, trials: Any, points: Any, **style: Any) -> None:
    texts = [_hover(scene, trial, point) for trial, point in zip(trials, points, strict=True)]
    x, y = zip(*points, strict=True)
    hover = {"hovertext": texts, "hovertemplate": "%{hovertext}<extra></extra>"}
    figure.add_scatter(x=x, y=y, mode="markers", **hover, **style)


def _others(scene: FrontPlot) -> str:
    """Return such as `collapsed, failed`: how the trials ended that are off the front."""
    return ", ".join(sorted({trial.status.value for trial, _ in scene.others}))


def _hover(scene: FrontPlot, trial: TrialRecord, point: tuple[float, float]) -> str:
    head = f"<b>{escape(method_of(trial))}</b>  {escape(trial.trial_id)}"
    ended = f"{trial.status.value}" + (f": {escape(trial.reason[:80])}" if trial.reason else "")
    settings = [f"{escape(key)} = {escape(_short(value))}" for key, value in settings_of(trial).items()]
    return "<br>".join([head, _coordinates(scene, point), *settings, ended])


def _coordinates(scene: FrontPlot, point: tuple[float, float]) -> str:
    return "<br>".join(f"{name} {value:.4f}" for name, value in zip(scene.axes, point, strict=True))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lay_out(figure: go.Figure, scene: FrontPlot) -> None:
    titles = [
        f"{name}<br><span style='font-size:12px;color:#555'>{escape(text)}</span>"
        for name, text in zip(scene.axes, scene.definitions, strict=True)
    ]
    axis = {"gridcolor": "#e6e6e6", "zeroline": False, "showline": True, "linecolor": INK, "ticks": "outside"}
    notes = "<br>".join(map(escape, scene.notes))
    figure.update_layout(
        template="plotly_white",
        title={"text": escape(scene.title), "x": 0.02, "font": {"size": 17}},
        font={"family": FONT, "size": 14, "color": INK},
        xaxis={**axis, "title": {"text": titles[0]}, "range": scene.limits[0]},
        yaxis={**axis, "title": {"text": titles[1]}, "range": scene.limits[1]},
        legend={"x": 1.02, "y": 1, "itemsizing": "constant"},
        margin={"l": 90, "r": 30, "t": 70, "b": 85 + 18 * len(scene.notes)},
        hoverlabel={"bgcolor": "white", "align": "left"},
    )
    corner = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"}
    small = {"size": 12, "color": "#555"}
    figure.add_annotation(text=notes, yshift=-72, showarrow=False, align="left", font=small, **corner)
