"""The Pareto front as a PNG, drawn by matplotlib, for papers and places without a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hamu_ray.reports.front.palette import LIGHT
from hamu_ray.reports.front.parallel import BREAK, OFF_FRONT, joined
from hamu_ray.reports.front.scene import FAINT, GUARANTEED_FRONT, NOT_GUARANTEED, FrontPlot, compose, inside
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.pareto.summary import SweepSummary
from hamu_ray.results.wording import DEFINITIONS, number

INK, MUTED, GRID = LIGHT["ink"], LIGHT["muted"], LIGHT["grid"]
ANCHOR_FILL = {"O": INK, "R": "white"}
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
LINE_STYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def write_png(
    path: Path | str,
    summary: SweepSummary,
    definitions: Mapping[str, str] = DEFINITIONS,
    dpi: int = PAPER_DPI,
) -> Path:
    """Draw a summary, full size or small. `definitions` explain the objectives by name, in small print."""
    scene = compose(summary, definitions)
    figure = Figure(figsize=(9.5, 6.4), facecolor="white")
    canvas = FigureCanvasAgg(figure)  # without pyplot: no global state, no display
    axes = figure.subplots()
    if len(scene.axes) > 2:
        _draw_parallel(axes, scene)
    else:
        _draw_points(axes, scene)
        _draw_marks(axes, scene)
        _set_axes(axes, scene)
    _dress(axes, scene)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_figure(path, dpi=dpi, bbox_inches="tight", pad_inches=0.2)
    return path


def _draw_points(axes: Axes, scene: FrontPlot) -> None:
    """Draw the fronts and the trials; points on the front are drawn last and larger."""
    for one in scene.series:
        if one.stairs:
            dash = LINE_STYLES[one.style.dash]
            line: dict[str, Any] = {"color": one.style.colour, "linestyle": dash, "linewidth": 0.8}
            axes.plot(*zip(*one.stairs, strict=True), alpha=0.55, zorder=1.5, **line)
    if scene.stairs:
        axes.plot(*zip(*scene.stairs, strict=True), color=INK, linewidth=1.3, zorder=2, label="Pareto front")
    if scene.hollow:
        hollow: dict[str, Any] = {"facecolors": "white", "edgecolors": INK}
        axes.scatter([], [], s=60, label=NOT_GUARANTEED, **hollow)
    if scene.guaranteed_stairs:
        dashed: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1.1}
        axes.plot(*zip(*scene.guaranteed_stairs, strict=True), zorder=2, label=GUARANTEED_FRONT, **dashed)
    for one in scene.series:
        marker = MATPLOTLIB_MARKERS[one.style.marker]
        style: dict[str, Any] = {"marker": marker, "color": one.style.colour, "edgecolors": INK}
        axes.scatter([], [], s=60, linewidths=0.6, label=one.method, **style)
        for plotted in one.trials:
            size: dict[str, Any] = {"s": 42, "linewidths": 0.3, "alpha": 0.6, "zorder": 3}
            if plotted.missed:
                size["alpha"] = FAINT
            if plotted.on_front:
                size = {"s": 90, "linewidths": 1.1, "zorder": 5}
            face = {"color": "white", "edgecolors": one.style.colour} if plotted.hollow else {}
            width = {"linewidths": 1.6} if plotted.hollow else {}
            axes.scatter(plotted.point[0], plotted.point[1], **{**size, **style, **face, **width})
    if scene.others:
        xs, ys = zip(*(point for _, point in scene.others), strict=True)
        cross: dict[str, Any] = {"s": 40, "marker": "x", "color": MUTED, "linewidths": 1.1, "zorder": 2.5}
        axes.scatter(xs, ys, label=scene.others_label, **cross)


def _draw_marks(axes: Axes, scene: FrontPlot) -> None:
    """Draw the knee's ring, the original model and the reference."""
    if scene.knee:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.6}
        axes.scatter(scene.knee[0], scene.knee[1], s=330, zorder=6, **ring)
        axes.scatter([], [], s=150, label="knee", **ring)
    for letter, name, point in scene.anchors:
        star: dict[str, Any] = {"marker": "*", "color": ANCHOR_FILL[letter], "edgecolors": INK}
        axes.scatter(point[0], point[1], s=210, linewidths=1.1, zorder=7, label=f"{letter}: {name}", **star)
        if inside(point, scene.limits):
            offset: dict[str, Any] = {
                "xytext": (0, 9),
                "textcoords": "offset points",
                "ha": "center",
                "va": "bottom",
            }
            axes.annotate(
                letter, (point[0], point[1]), color=INK, fontsize=11, fontweight="bold", zorder=8, **offset
            )


def _draw_parallel(axes: Axes, scene: FrontPlot) -> None:
    """Draw a line for each trial over parallel axes, on which better is higher."""

    def draw(points: Sequence[Point], colour: str, label: str = "", **style: Any) -> None:
        corners = joined(scene, points) or [BREAK]
        axes.plot(*zip(*corners, strict=True), color=colour, label=label or None, **style)

    if scene.others:
        points = [point for _, point in scene.others]
        draw(points, MUTED, scene.others_label, linestyle=":", linewidth=0.8, alpha=OFF_FRONT)
    for one in scene.series:
        dash = LINE_STYLES[one.style.dash]
        for trial in (trial for trial in one.trials if not trial.on_front):
            alpha = FAINT if trial.missed else OFF_FRONT
            draw([trial.point], one.style.colour, linestyle=dash, linewidth=0.8, alpha=alpha)
        mark: dict[str, Any] = {"marker": MATPLOTLIB_MARKERS[one.style.marker], "markeredgecolor": INK}
        draw([], one.style.colour, one.method, linestyle=dash, markersize=7, **mark)
        for trial in (trial for trial in one.trials if trial.on_front):
            face = {"markerfacecolor": "white"} if trial.hollow else {}
            draw([trial.point], one.style.colour, linestyle=dash, zorder=5, **mark, **face)
    if scene.knee:
        draw([scene.knee], INK, "knee", linewidth=4, alpha=0.45)
    for letter, name, point in scene.anchors:
        draw([point], INK, f"{letter}: {name}", linestyle=":", linewidth=1.2)
    axes.set(xlim=(-0.3, len(scene.axes) - 0.7), ylim=(-0.09, 1.09), yticks=[])
    axes.set_xticks(range(len(scene.axes)), scene.axes)
    for at, ends in enumerate(scene.ends):
        axes.axvline(at, color=MUTED, linewidth=1, zorder=1)
        for y, value, side in zip((0, 1), ends, ("top", "bottom"), strict=True):
            axes.annotate(number(value), (at, y), color=MUTED, fontsize=9, ha="center", va=side)


def _set_axes(axes: Axes, scene: FrontPlot) -> None:
    """Set the limits and titles of two axes."""
    axes.set(xlim=scene.limits[0], ylim=scene.limits[1])
    small = _small()
    label = axes.set_xlabel(scene.axes[0], fontsize=12, color=INK)
    place: dict[str, Any] = {"xy": (0.5, 0), "xycoords": label, "xytext": (0, -4)}
    axes.annotate(scene.definitions[0], ha="center", va="top", **place, **small)
    label = axes.set_ylabel(scene.axes[1], fontsize=12, color=INK, labelpad=8)
    place = {"xy": (0, 0.5), "xycoords": label, "xytext": (-4, 0)}
    axes.annotate(scene.definitions[1], ha="right", va="center", rotation=90, **place, **small)


def _small() -> dict[str, Any]:
    return {"fontsize": 8.5, "color": MUTED, "annotation_clip": False, "textcoords": "offset points"}


def _dress(axes: Axes, scene: FrontPlot) -> None:
    """Set title, legend and notes."""
    axes.set_title(scene.title, loc="left", fontsize=12, color=INK, pad=12)
    place: dict[str, Any] = {
        "xy": (0, 0),
        "xycoords": "axes fraction",
        "xytext": (0, -62),
        "linespacing": 1.5,
    }
    axes.annotate("\n".join(scene.notes), ha="left", va="top", **place, **_small())
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, labelspacing=0.9, fontsize=10
        )
