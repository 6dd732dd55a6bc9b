"""The charts of ends: the front, hypervolume by method, importance. Plain plotly figures.

Colours are names of the page's CSS properties, such as `var(--ink)`: the page puts in what they stand for, so that a
chart follows the theme. Texts of trials are escaped: plotly reads some HTML in them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hamu_ray.reports.analysis.comparison import MethodVolume
from hamu_ray.reports.analysis.importance import Importance
from hamu_ray.reports.analysis.problems import Configuration, Problem
from hamu_ray.reports.front.palette import OKABE_ITO, look_of
from hamu_ray.reports.front.scene import FrontPlot, compose, stairs_of
from hamu_ray.results.summary import settings_of
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import last_word, number, setting, words

INK, MUTED, PAPER = "var(--ink)", "var(--muted)", "var(--paper)"
MOST_POINTS = 3000
"""Configurations off the front that are drawn; of more, every n-th."""

Figure = dict[str, Any]


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn, everywhere on the page."""

    colour: str
    marker: str
    filled: bool

    @property
    def symbol(self) -> str:
        """The marker by plotly's name."""
        return self.marker if self.filled else f"{self.marker}-open"

    @property
    def dash(self) -> str:
        """The style of a line by plotly's name: colours that come again are dashed."""
        return "solid" if self.filled else "dash"


def looks(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """Return the look of each method of a report."""
    found = {}
    for place, method in enumerate(methods):
        colour, marker, filled = look_of(place)
        found[method] = MethodStyle(f"var(--c{OKABE_ITO.index(colour)})", marker, filled)
    return found


def figure(data: Sequence[Figure], height: int, **layout: Any) -> Figure:
    """Return a figure as the page takes it."""
    return {"data": list(data), "layout": {"height": height, **layout}}


def axis(title: str, **more: Any) -> Figure:
    """Return an axis with its title."""
    return {"title": {"text": title}, **more}


def front_chart(problem: Problem, methods: Mapping[str, MethodStyle]) -> tuple[Figure, FrontPlot]:
    """Return the chart of all configurations, each method's front and the front of all, and what it shows."""
    scene = compose(problem.summary, methods=list(methods))
    data = list(_seed_points(problem, methods))
    for method, look in methods.items():
        summary = problem.of_method(method)
        if len(summary.front) > 1:
            stairs = stairs_of(summary, scene.limits)
            data.append(_line(stairs, look.colour, 1, method, dash=look.dash, opacity=0.55))
    if scene.stairs:
        data.append(_line(scene.stairs, INK, 2, None))
    if scene.others:
        marker: Figure = {"symbol": "x-thin", "size": 7, "line": {"color": MUTED, "width": 1.5}}
        texts = [_hover(scene, trial, point) for trial, point in scene.others]
        data.append(_points([point for _, point in scene.others], texts, marker, "not finished"))
    front = {one.record.trial_id for one in problem.front}
    named = {one.record.trial_id: one for one in problem.configurations}
    for one in scene.series:
        pairs = list(zip(one.trials, one.points, strict=True))
        off = [pair for pair in pairs if pair[0].trial_id not in front]
        every = math.ceil(len(off) / MOST_POINTS) or 1
        kept = off[::every] + [pair for pair in pairs if pair[0].trial_id in front]
        data.append(_method_points(scene, methods[one.method], one.method, kept, front, named))
    data += _anchors(scene)
    if scene.knee:
        ring = {"symbol": "circle-open", "size": 25, "color": INK, "line": {"width": 2}}
        data.append(_silent(_points([scene.knee], [""], ring, "knee")))
    titles = [words(objective.metric) for objective in problem.objectives]
    axes = {
        "xaxis": axis(titles[0], range=list(scene.limits[0])),
        "yaxis": axis(titles[1], range=list(scene.limits[1])),
    }
    return figure(data, 520, hovermode="closest", **axes), scene


def _seed_points(problem: Problem, methods: Mapping[str, MethodStyle]) -> Iterable[Figure]:
    """Yield the single trials behind means over seeds, small and faint."""
    for method, look in methods.items():
        several = [one for one in problem.configurations if one.method == method and len(one.members) > 1]
        trials = [m.record for one in several for m in one.members]
        if trials and len(trials) <= MOST_POINTS:
            points = [problem.summary.point(trial.measures) for trial in trials]
            marker = {"symbol": look.symbol, "size": 4, "color": look.colour, "opacity": 0.4}
            trace = _points(points, [], marker, f"{method}, single seeds")
            yield {**_silent(trace), "meta": {"method": method}}


def _method_points(
    scene: FrontPlot,
    look: MethodStyle,
    method: str,
    pairs: Sequence[tuple[TrialRecord, tuple[float, float]]],
    front: set[str],
    named: Mapping[str, Configuration],
) -> Figure:
    """Return a method's configurations: those of the front large, means with their intervals."""
    on_front = [trial.trial_id in front for trial, _ in pairs]
    edge = {"color": INK if look.filled else look.colour, "width": [1.2 if on else 0.5 for on in on_front]}
    marker = {
        "symbol": look.symbol,
        "color": look.colour,
        "size": [13 if on else 8 for on in on_front],
        "opacity": [1.0 if on else 0.55 for on in on_front],
        "line": edge,
    }
    texts = [_hover(scene, trial, point, named[trial.trial_id]) for trial, point in pairs]
    trace = _points([point for _, point in pairs], texts, marker, method)
    trace["meta"] = {"method": method}
    for i, key in enumerate(("error_x", "error_y")):
        halves = [named[trial.trial_id].intervals[i] for trial, _ in pairs]
        widths = [one.high - one.mean for one in halves]
        if any(map(math.isfinite, widths)):
            trace[key] = {"type": "data", "array": widths, "color": look.colour, "thickness": 1, "width": 3}
    return trace


def _anchors(scene: FrontPlot) -> list[Figure]:
    """Return the original and the reference, with their letters."""
    data = []
    for letter, name, point in scene.anchors:
        marker = {"symbol": "star" if letter == "O" else "star-open", "size": 15, "color": INK}
        text = f"<b>{letter}</b>: {name}<br>{_coordinates(scene, point)}"
        trace = _points([point], [text], {**marker, "line": {"width": 1.5, "color": INK}}, name)
        letters = {"text": [letter], "textposition": "top center", "textfont": {"color": INK, "size": 15}}
        data.append({**trace, **letters, "mode": "markers+text", "cliponaxis": False})
    return data


def _points(points: Iterable[Any], texts: Sequence[str], marker: Figure, name: str) -> Figure:
    xs, ys = zip(*points, strict=True)
    hover = {"hovertext": list(texts), "hovertemplate": "%{hovertext}<extra></extra>"}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": xs,
        "y": ys,
        "marker": marker,
        "name": escape(name),
        **hover,
    }


def _silent(trace: Figure) -> Figure:
    """Return a trace that tells nothing on hover."""
    kept = {key: value for key, value in trace.items() if not key.startswith("hover")}
    return {**kept, "hoverinfo": "skip"}


def _line(
    corners: Iterable[Any], colour: str, width: float, method: str | None, dash: str = "solid", **more: Any
) -> Figure:
    xs, ys = zip(*corners, strict=True)
    line = {"color": colour, "width": width, "dash": dash}
    meta = {"meta": {"method": method}} if method else {}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "line": line,
        "hoverinfo": "skip",
        **meta,
        **more,
    }


def _hover(
    scene: FrontPlot,
    trial: TrialRecord,
    point: tuple[float, float],
    configuration: Configuration | None = None,
) -> str:
    method = trial.configuration.get("method", {}).get("name", "")
    lines = [f"<b>{escape(str(method))}</b>  {escape(trial.trial_id)}", _coordinates(scene, point)]
    lines += [f"{escape(last_word(k))} {escape(setting(v))}" for k, v in settings_of(trial).items()]
    if configuration is not None and len(configuration.seeds) > 1:
        lines.append(f"mean over seeds {', '.join(map(str, configuration.seeds))}; bars: 95 % intervals")
    elif trial.reason:
        lines.append(f"{trial.status}: {escape(trial.reason[:80])}")
    return "<br>".join(lines)


def _coordinates(scene: FrontPlot, point: tuple[float, float]) -> str:
    return "<br>".join(f"{escape(name)} {number(v)}" for name, v in zip(scene.axes, point, strict=True))


def volume_chart(found: Sequence[MethodVolume], methods: Mapping[str, MethodStyle]) -> Figure:
    """Return each method's hypervolume: the mean with its interval, and the seeds."""
    data: list[Figure] = []
    for volume in found:
        look, values = methods[volume.method], list(volume.by_seed.values())
        name = escape(volume.method)
        if len(values) > 1:
            dots = {"symbol": look.symbol, "size": 6, "color": look.colour, "opacity": 0.5}
            texts = [f"{name}, seed {seed}: {number(v)}" for seed, v in volume.by_seed.items()]
            data.append(_points([(v, name) for v in values], texts, dots, name))
        marker = {
            "symbol": look.symbol,
            "size": 12,
            "color": look.colour,
            "line": {"color": INK, "width": 1},
        }
        low, high = volume.interval.low, volume.interval.high
        text = f"<b>{name}</b><br>{number(volume.interval.mean)}"
        text += f"<br>95 % interval {number(low)} to {number(high)}" if math.isfinite(low) else ""
        trace = _points([(volume.interval.mean, name)], [text], marker, name)
        if math.isfinite(low):
            half = {"array": [high - volume.interval.mean], "color": look.colour, "thickness": 2, "width": 6}
            trace["error_x"] = {"type": "data", **half}
        data.append(trace)
    everything = [v for volume in found for v in volume.by_seed.values()]
    room = 0.05 * max(everything, default=1.0) or 0.05
    rows = {"categoryorder": "array", "categoryarray": [escape(v.method) for v in reversed(found)]}
    axes = {
        "xaxis": axis("hypervolume", range=[-room / 2, max(everything, default=1.0) + room]),
        "yaxis": {"type": "category", "automargin": True, "ticks": "", **rows},
    }
    return figure(data, 90 + 34 * len(found), hovermode="closest", **axes)


def importance_chart(importance: Importance) -> Figure:
    """Return the shares of each parameter, for both objectives."""
    (first, ours), (second, theirs) = importance.shares.items()
    paths = sorted(dict.fromkeys([*ours, *theirs]), key=lambda path: ours.get(path, 0) + theirs.get(path, 0))
    labels = [escape(last_word(path) if path != "method.name" else "method") for path in paths]
    data = []
    for metric, shares, colour, pattern in (
        (second, theirs, "var(--c1)", "/"),
        (first, ours, "var(--c0)", ""),
    ):
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": [shares.get(path, 0.0) for path in paths],
                "y": labels,
                "name": escape(words(metric)),
                "marker": {
                    "color": colour,
                    "pattern": {"shape": pattern, "fgcolor": PAPER, "fillmode": "overlay", "size": 6},
                },
                "hovertemplate": "%{y}: %{x:.1%}<extra>" + escape(words(metric)) + "</extra>",
            }
        )
    layout = {
        "xaxis": axis("share of the importance", range=[0, 1.02], tickformat=".0%"),
        "yaxis": {"type": "category", "automargin": True, "ticks": ""},
        "showlegend": True,
        "bargap": 0.3,
    }
    return figure(data, 130 + 52 * len(paths), **layout)
