"""The charts over steps: learning curves, hardness diagnostics, and heat maps of the blocks."""

import base64
import math
from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from hamu_ray.metrics.table import BLOCK, STEP
from hamu_ray.reports.analysis.details import SEEDS_DRAWN, STEP_METRICS, Blocks, Details, evaluated
from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.reports.front.palette import MethodStyle
from hamu_ray.reports.front.traces import INK, MUTED, Figure, axis, figure
from hamu_ray.results.wording import words

LEAST = 1e-12
"""Magnitudes below this count as zero on logarithmic scales."""


def learning_charts(
    problem: Problem, details: Details, methods: Mapping[str, MethodStyle]
) -> list[tuple[str, Figure]]:
    """Return one chart per evaluated objective, with its name.

    Knees are emphasised, other points of the front thin, O and R level lines.
    """
    charts = []
    for i, objective in enumerate(evaluated(problem)):
        data, last = [], 1
        knees = set(problem.knees)
        for one in details.drawn:
            knee = one is problem.knees.get(one.method) and one.method in knees
            style = methods[one.method]
            for trial in one.trials[:SEEDS_DRAWN]:
                curve = details.curves.get(trial.record.trial_id) or {}
                steps = sorted(curve)
                last = max([last, *steps])
                curve_style: Figure = {
                    "line": {"color": style.css, "width": 2 if knee else 1, "dash": style.dash}
                }
                curve_style |= {"opacity": 1.0 if knee else 0.45}
                marks = {"marker": {"symbol": style.marker, "size": 7, "color": style.css}} if knee else {}
                name = f"{one.method} {trial.record.trial_id}" + (" (knee)" if knee else "")
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers" if knee else "lines",
                        "x": steps,
                        "y": [curve[step][i] for step in steps],
                        "name": escape(name),
                        "meta": {"method": one.method},
                        "hovertemplate": "step %{x}: %{y:.4f}<extra>%{fullData.name}</extra>",
                        **curve_style,
                        **marks,
                    }
                )
        data += _levels(problem, objective.metric, last)
        axes = {"xaxis": axis("step", rangemode="tozero"), "yaxis": axis(words(objective.metric))}
        charts.append((objective.metric, figure(data, 360, hovermode="closest", **axes)))
    return charts


def _levels(problem: Problem, metric: str, last: int) -> Iterator[Figure]:
    """Yield level lines at the values of the original and the reference, labelled O and R."""
    for letter, measures, dash in (("O", problem.original, "dot"), ("R", problem.reference, "dash")):
        value = measures.get(metric, math.nan)
        if math.isfinite(value):
            yield {
                "type": "scatter",
                "mode": "lines+text",
                "x": [0, last],
                "y": [value, value],
                "text": ["", letter],
                "textposition": "bottom left" if letter == "O" else "top left",
                "cliponaxis": False,
                "textfont": {"color": INK},
                "line": {"color": MUTED, "width": 1.2, "dash": dash},
                "name": letter,
                "hovertemplate": f"{letter} %{{y:.4f}}<extra></extra>",
            }


def hardness_charts(details: Details, methods: Mapping[str, MethodStyle]) -> list[tuple[str, str, Figure]]:
    """Return title, note and chart of every step diagnostic that the knees have."""
    charts = []
    for metric in STEP_METRICS:
        data = []
        for method, histories in details.steps.items():
            history = histories.get(metric)
            if history and any(map(math.isfinite, history.values())):
                style = methods[method]
                known = {step: value for step, value in history.items() if math.isfinite(value)}
                seldom = len(known) < len(history)  # measured at intervals: a line alone may miss points
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers" if seldom else "lines",
                        "x": list(known),
                        "y": list(known.values()),
                        "marker": {"symbol": style.marker, "size": 5, "color": style.css},
                        "name": escape(method),
                        "meta": {"method": method},
                        "line": {"color": style.css, "width": 1.6, "dash": style.dash},
                        "hovertemplate": "step %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
                    }
                )
        if data:
            shown = STEP[metric]
            zero = {"zeroline": True, "zerolinecolor": MUTED, "zerolinewidth": 1}
            axes = {"xaxis": axis("step"), "yaxis": axis(shown.axis, tickformat="~g", **zero)}
            charts.append((shown.title, shown.note, figure(data, 280, hovermode="closest", **axes)))
    return charts


def heat_maps(blocks: Blocks) -> Iterator[tuple[str, Figure]]:
    """Yield title and chart of each block diagnostic of a trial."""
    for name, values in blocks.values.items():
        metric = BLOCK[name]
        yield metric.title, _heat_map(blocks, values, name, metric.axis)


def _heat_map(blocks: Blocks, values: np.ndarray, metric: str, unit: str) -> Figure:
    """Plot steps from left to right and blocks from the input down; diverging scales have a neutral centre."""
    scale: Figure = {"colorscale": "Viridis"}
    hover = "%{z:.3g}"
    if metric == "angle":
        reach = float(np.nanmax(np.abs(values - 90), initial=1.0))
        scale = {"colorscale": _diverging(), "zmin": 90 - reach, "zmax": 90 + reach}
        hover = "%{z:.1f}°"
    elif metric == "retain_forget":
        top = float(np.nanmax(np.abs(values), initial=LEAST))
        floor = max(top * 1e-6, LEAST)
        values = np.sign(values) * np.log10(np.maximum(np.abs(values) / floor, 1))
        reach = float(np.nanmax(np.abs(values), initial=1.0)) or 1.0
        scale = {"colorscale": _diverging(), "reversescale": True, "zmin": -reach, "zmax": reach}
        unit, hover = f"decades from ±{floor:.0e}", "%{z:.2f}"
    else:
        values = np.log10(np.maximum(values, LEAST))
        hover = "10^%{z:.2f}"
    grid = np.ascontiguousarray(values.T, dtype="<f4")
    z = {
        "dtype": "f4",
        "bdata": base64.b64encode(grid.tobytes()).decode(),
        "shape": f"{grid.shape[0]}, {grid.shape[1]}",
    }
    trace = {
        "type": "heatmap",
        "x": blocks.steps,
        "y": [escape(name) for name in blocks.names],
        "z": z,
        "hovertemplate": "%{y}<br>step %{x}: " + hover + "<extra></extra>",
        "colorbar": {"title": {"text": unit, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        **scale,
    }
    rows = {
        "type": "category",
        "autorange": "reversed",
        "automargin": True,
        "tickfont": {"size": 10},
        "ticks": "",
    }
    height = min(1100, max(260, 110 + 13 * len(blocks.names)))
    return figure([trace], height, xaxis=axis("step"), yaxis=rows)


def _diverging() -> list[list[object]]:
    """Return a colour scale from orange (conflict) through neutral to blue (no conflict)."""
    return [[0.0, "#D55E00"], [0.25, "#F0B27A"], [0.5, "#F4F4F2"], [0.75, "#7FB2D9"], [1.0, "#0072B2"]]
