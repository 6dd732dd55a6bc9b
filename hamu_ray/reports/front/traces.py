"""Plotly figures as plain data: traces, axes and layouts.

Colours are CSS properties such as `var(--ink)`. The report page resolves them in the browser, so that charts follow the
theme; `resolved` does it in Python. Plotly interprets some HTML in texts, so callers must escape them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

INK, MUTED, PAPER, GRID = "var(--ink)", "var(--muted)", "var(--paper)", "var(--grid)"

Figure = dict[str, Any]


def figure(data: Sequence[Figure], height: int, **layout: Any) -> Figure:
    """Return a figure with the given traces; the height is in pixels."""
    return {"data": list(data), "layout": {"height": height, **layout}}


def axis(title: str, **more: Any) -> Figure:
    """Return an axis with its title."""
    return {"title": {"text": title}, **more}


def markers(points: Iterable[Any], texts: Sequence[str], marker: Figure, name: str, **more: Any) -> Figure:
    """Return a trace of points (x, y) with one hover text each; without texts, hovering is disabled."""
    xs, ys = zip(*points, strict=True)
    hover = {"hovertext": list(texts), "hovertemplate": "%{hovertext}<extra></extra>"}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": xs,
        "y": ys,
        "marker": marker,
        "name": escape(name),
        **(hover if texts else {"hoverinfo": "skip"}),
        **more,
    }


def line(
    corners: Iterable[Any], colour: str, width: float, name: str, dash: str = "solid", **more: Any
) -> Figure:
    """Return a line through points (x, y), with hovering disabled."""
    xs, ys = zip(*corners, strict=True)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "name": escape(name),
        "line": {"color": colour, "width": width, "dash": dash},
        "hoverinfo": "skip",
        **more,
    }


def resolved(value: Any, theme: Mapping[str, str]) -> Any:
    """Return a copy of a figure with CSS properties replaced by a theme's colours."""
    if isinstance(value, str):
        name = re.fullmatch(r"var\(--([\w-]+)\)", value)
        return theme[name[1]] if name else value
    if isinstance(value, list | tuple):
        return [resolved(item, theme) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item, theme) for key, item in value.items()}
    return value
