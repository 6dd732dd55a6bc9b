"""The charts of results: the front, the hypervolume by method, the importance of hyperparameters."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from hamu_ray.config.space import METHOD_NAME
from hamu_ray.reports.analysis.anytime import VolumeCurve
from hamu_ray.reports.analysis.comparison import MethodVolume
from hamu_ray.reports.analysis.importance import Importance
from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.reports.front.palette import OKABE_ITO, MethodStyle
from hamu_ray.reports.front.scene import FrontPlot, SeedMeans, compose
from hamu_ray.reports.front.traces import INK, PAPER, Figure, axis, figure, line, markers
from hamu_ray.results.wording import last_word, number, words

PATTERNS = ("", "/", ".", "x")
"""Of the bars of each objective."""


def front_of(problem: Problem, methods: Mapping[str, MethodStyle]) -> FrontPlot:
    """Lay out the front of a problem's groups; groups with several seeds are shown as means."""
    means = {
        one.record.trial_id: SeedMeans(
            one.seeds, one.intervals, tuple(problem.summary.point(m.record.measures) for m in one.trials)
        )
        for one in problem.groups
        if len(one.trials) > 1
    }
    return compose(problem.summary, methods=list(methods), means=means)


def volume_chart(found: Sequence[MethodVolume], methods: Mapping[str, MethodStyle]) -> Figure:
    """Plot each method's hypervolume: the mean with its interval, and the individual seeds."""
    data: list[Figure] = []
    for volume in found:
        style, values = methods[volume.method], list(volume.by_seed.values())
        name = escape(volume.method)
        if len(values) > 1:
            dots = {"symbol": style.marker, "size": 6, "color": style.css, "opacity": 0.5}
            texts = [f"{name}, seed {seed}: {number(v)}" for seed, v in volume.by_seed.items()]
            data.append(markers([(v, name) for v in values], texts, dots, name))
        marker = {
            "symbol": style.marker,
            "size": 12,
            "color": style.css,
            "line": {"color": INK, "width": 1},
        }
        low, high = volume.interval.low, volume.interval.high
        text = f"<b>{name}</b><br>{number(volume.interval.mean)}"
        text += f"<br>95 % interval {number(low)} to {number(high)}" if math.isfinite(low) else ""
        trace = markers([(volume.interval.mean, name)], [text], marker, name)
        if math.isfinite(low):
            half = {"array": [high - volume.interval.mean], "color": style.css, "thickness": 2, "width": 6}
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


def anytime_chart(curves: Sequence[VolumeCurve], methods: Mapping[str, MethodStyle]) -> Figure:
    """Plot the hypervolume of each method's front by the gradients computed so far, with intervals over repetitions."""
    data = []
    for curve in curves:
        style, group = methods[curve.method], {"meta": {"method": curve.method}}
        name = f"{curve.method} ({', '.join(curve.sweeps)})" if curve.sweeps else curve.method
        means = [(0.0, 0.0), *((gradients, volume.mean) for gradients, volume in curve.points)]
        data.append(line(means, style.css, 2, name, style.dash, **group))
        for end in ("low", "high") if curve.repetitions > 1 else ():
            corners = [(gradients, getattr(volume, end)) for gradients, volume in curve.points]
            faint = {**group, "opacity": 0.6, "showlegend": False}
            data.append(line(corners, style.css, 0.8, f"{name}, 95 % interval", "dot", **faint))
    for trace in data:
        trace["line"]["shape"] = "hv"
    axes = {"xaxis": axis("gradients computed"), "yaxis": axis("hypervolume", rangemode="tozero")}
    return figure(data, 340, showlegend=True, **axes)


def importance_chart(importance: Importance) -> Figure:
    """Plot the importance of each hyperparameter for each objective."""
    found = importance.fractions.values()
    paths = sorted(
        dict.fromkeys(path for fractions in found for path in fractions),
        key=lambda path: sum(fractions.get(path, 0) for fractions in found),
    )
    labels = [escape(last_word(path) if path != METHOD_NAME else "method") for path in paths]
    data = []
    for i, (metric, fractions) in reversed([*enumerate(importance.fractions.items())]):
        colour, pattern = f"var(--c{i % len(OKABE_ITO)})", PATTERNS[i % len(PATTERNS)]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": [fractions.get(path, 0.0) for path in paths],
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
        "xaxis": axis("fraction of the importance", range=[0, 1.02], tickformat=".0%"),
        "yaxis": {"type": "category", "automargin": True, "ticks": ""},
        "showlegend": True,
        "bargap": 0.3,
    }
    return figure(data, 130 + 26 * len(found) * len(paths), **layout)
