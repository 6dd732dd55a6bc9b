"""The layout of a front, independent of a drawing library: points, styles and axis limits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hamu_ray.config.search import Objective, directions
from hamu_ray.reports.front.palette import MethodStyle, styles_of
from hamu_ray.results.pareto.front import Interval, Point, non_dominated
from hamu_ray.results.pareto.summary import SweepSummary, method_of
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import DEFINITIONS, counted, words

CLOSE_UP_BELOW = 0.4
"""An axis zooms in from 0..1 if the finished trials span less than this fraction of it."""
MARGIN = 0.12
LEAST_SPAN = 0.02

FAINT = 0.2
"""Opacity of trials that do not meet the search's constraints."""

NOT_GUARANTEED = "not guaranteed"
GUARANTEED_FRONT = "front without them"
NOT_GUARANTEED_NOTE = "Hollow: not guaranteed, some steps were outside the method's guarantee."

Limits = tuple[tuple[float, float], ...]
"""Lower and upper limit of the axis of each objective: the horizontal one, then the vertical one."""


@dataclass(frozen=True)
class SeedMeans:
    """The seeds behind a point that is a mean over seeds."""

    seeds: tuple[int, ...]
    intervals: tuple[Interval, ...]
    """Mean and 95 % confidence interval of each objective."""
    points: tuple[Point, ...]
    """The objectives of the individual trials."""


@dataclass(frozen=True)
class PlottedTrial:
    """A finished trial, or the mean of several."""

    trial: TrialRecord
    point: Point
    on_front: bool
    missed: tuple[str, ...] = ()
    """The search's constraints that it does not meet."""
    means: SeedMeans | None = None

    @property
    def hollow(self) -> bool:
        """Whether some of its steps were outside its method's guarantee."""
        return self.trial.guaranteed is False


@dataclass(frozen=True)
class Series:
    """The finished trials of one method."""

    method: str
    style: MethodStyle
    trials: tuple[PlottedTrial, ...]
    stairs: tuple[Point, ...] = ()
    """Corners of the method's own front; empty if it has only one point or if there is no other method."""


@dataclass(frozen=True)
class FrontPlot:
    """Everything that a figure of a front shows, in the units of the objectives."""

    title: str
    axes: tuple[str, ...]
    definitions: tuple[str, ...]
    maximise: tuple[bool, ...]
    limits: Limits
    series: tuple[Series, ...]
    others: tuple[tuple[TrialRecord, Point], ...]
    """Unfinished trials with finite objectives, which cannot be on the front."""
    stairs: tuple[Point, ...]
    """Corners of the front's step line, from edge to edge of the figure; empty with more than two objectives."""
    guaranteed_stairs: tuple[Point, ...]
    """Corners of the front without the trials that are not guaranteed; trials of methods without a guarantee stay in.

    Empty if it equals the front, and if no trial is guaranteed.
    """
    knee: Point | None
    anchors: tuple[tuple[str, str, Point], ...]
    """Letter, name and point of the original model (O) and the retain-only reference (R)."""
    notes: tuple[str, ...]
    """Notes for the reader: zoomed axes, and points outside the axes."""

    @property
    def ends(self) -> tuple[tuple[float, float], ...]:
        """The worse and the better end of each axis."""
        pairs = zip(self.limits, self.maximise, strict=True)
        return tuple((low, high) if maximise else (high, low) for (low, high), maximise in pairs)

    def scaled(self, point: Point) -> tuple[float, ...]:
        """Return a point with each value as its place on its axis, from 0 at the worse end to 1 at the better one."""
        pairs = zip(point, self.ends, strict=True)
        return tuple((value - worse) / (best - worse) for value, (worse, best) in pairs)

    @property
    def hollow(self) -> bool:
        """Whether a trial is not guaranteed."""
        return any(one.hollow for series in self.series for one in series.trials)

    @property
    def others_label(self) -> str:
        """How the trials off the front ended, for example `collapsed, failed`."""
        return ", ".join(sorted({trial.status.value for trial, _ in self.others}))


def compose(
    summary: SweepSummary,
    definitions: Mapping[str, str] = DEFINITIONS,
    methods: Sequence[str] | None = None,
    means: Mapping[str, SeedMeans] | None = None,
) -> FrontPlot:
    """Lay out the figure of a summary.

    Args:
        summary: the trials and their front.
        definitions: a one-line explanation of each objective, by name.
        methods: assigns each method its style by index; figures with the same methods use the same styles. None: the
            summary's own methods, sorted.
        means: the seeds behind trials that are means over seeds, by trial id.
    """
    others = tuple(
        (trial, point)
        for trial in summary.trials
        if trial.status is not Status.FINISHED and _finite(point := summary.point(trial.measures))
    )
    measured = (("O", "original", summary.original), ("R", "retain-only reference", summary.reference))
    anchors = tuple(
        (letter, name, point)
        for letter, name, measures in measured
        if _finite(point := summary.point(measures))
    )
    plotted = _plotted(summary, means or {})
    drawn = [one for trials in plotted.values() for one in trials]
    shown = [one.point for one in drawn]
    everything = shown + [point for _, point in others] + [point for _, _, point in anchors]
    names = [objective.metric for objective in summary.objectives]
    limits = tuple(_limits([p[i] for p in shown], [p[i] for p in everything]) for i in range(len(names)))
    front = [summary.point(trial.measures) for trial in summary.front]
    return FrontPlot(
        title=_title(summary),
        axes=tuple(map(words, names)),
        definitions=tuple(definitions.get(name, "") for name in names),
        maximise=directions(summary.objectives),
        limits=limits,
        series=tuple(_series(summary, methods, plotted, limits)),
        others=others,
        stairs=stairs_of(front, summary.objectives, limits),
        guaranteed_stairs=_guaranteed_stairs(summary, plotted, limits),
        knee=summary.point(summary.knee.measures) if summary.knee else None,
        anchors=anchors,
        notes=(
            *_notes(names, limits, others, anchors),
            *([infeasible_note(summary)] if any(one.missed for one in drawn) else []),
            *([NOT_GUARANTEED_NOTE] if any(one.hollow for one in drawn) else []),
        ),
    )


def infeasible_note(summary: SweepSummary) -> str:
    """Return how many trials are off the front because they do not meet the search's constraints."""
    return f"Faint: {counted(summary.outside_constraints, 'trial')} that did not meet {summary.bounds}."


def _plotted(summary: SweepSummary, means: Mapping[str, SeedMeans]) -> dict[str, list[PlottedTrial]]:
    """Return the finished trials, and points of trials, with finite objectives, by method."""
    front = {trial.trial_id for trial in summary.front}
    found: dict[str, list[PlottedTrial]] = {}
    for trial in summary.candidates:
        point = summary.point(trial.measures)
        if trial.status is Status.FINISHED and _finite(point):
            missed = tuple(summary.missed(trial))
            one = PlottedTrial(trial, point, trial.trial_id in front, missed, means.get(trial.trial_id))
            found.setdefault(method_of(trial), []).append(one)
    return found


def _guaranteed_stairs(
    summary: SweepSummary, plotted: Mapping[str, Sequence[PlottedTrial]], limits: Limits
) -> tuple[Point, ...]:
    trials = [one for several in plotted.values() for one in several]
    if not any(one.trial.guaranteed for one in trials) or not any(o.hollow and o.on_front for o in trials):
        return ()
    points = [one.point for one in trials if not one.hollow and not one.missed]
    marks = non_dominated(points, directions(summary.objectives))
    front = [p for p, marked in zip(points, marks, strict=True) if marked]
    return stairs_of(front, summary.objectives, limits)


def _series(
    summary: SweepSummary,
    methods: Sequence[str] | None,
    plotted: Mapping[str, Sequence[PlottedTrial]],
    limits: Limits,
) -> Iterator[Series]:
    """Yield a series for each method that has points. Methods without points keep their styles."""
    maximise = directions(summary.objectives)
    for method, style in styles_of(methods or sorted({method_of(t) for t in summary.trials})).items():
        trials = plotted.get(method)
        if trials:
            points = [one.point for one in trials if not one.missed]
            own = [p for p, marked in zip(points, non_dominated(points, maximise), strict=True) if marked]
            several = len(own) > 1 and len(plotted) > 1
            stairs = stairs_of(own, summary.objectives, limits) if several else ()
            yield Series(method, style, tuple(trials), stairs)


def _limits(shown: Sequence[float], everything: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis: 0..1 and all values beyond, or zoomed in on trials that are close together."""
    low, high = min([0.0, *everything]), max([1.0, *everything])
    margin = 0.03 * (high - low)
    whole = (low - margin, high + margin)
    if len(shown) < 2:
        return whole
    span = max(shown) - min(shown)
    if span >= CLOSE_UP_BELOW * (high - low):
        return whole
    reach = max(span, LEAST_SPAN) * (0.5 + MARGIN)
    middle = (max(shown) + min(shown)) / 2
    return max(middle - reach, whole[0]), min(middle + reach, whole[1])


def stairs_of(front: Sequence[Point], objectives: Sequence[Objective], limits: Limits) -> tuple[Point, ...]:
    """Return the border of the region dominated by the points of a front, up to the worst ends of both axes.

    Empty without points, and with more than two objectives.
    """
    if not front or len(objectives) > 2:
        return ()
    points = sorted(front, reverse=not objectives[0].maximise)  # from the worst to the best first objective
    worst = [ends[0] if o.maximise else ends[1] for ends, o in zip(limits, objectives, strict=True)]
    corners = [(worst[0], points[0][1])]
    for (x, y), (_, following) in zip(points, [*points[1:], (0.0, worst[1])], strict=True):
        corners += [(x, y), (x, following)]
    return tuple(corners)


def _notes(
    names: Sequence[str],
    limits: Limits,
    others: Sequence[tuple[TrialRecord, Point]],
    anchors: Sequence[tuple[str, str, Point]],
) -> Iterator[str]:
    close = [
        f"{words(name)} {low:.3g} to {high:.3g}"
        for name, (low, high) in zip(names, limits, strict=True)
        if high - low < 0.9
    ]
    if close:
        yield f"Close-up: {', '.join(close)}."
    for letter, name, point in anchors:
        if not inside(point, limits):
            yield f"Outside the axes: {letter}, the {name}, at ({', '.join(f'{value:.3g}' for value in point)})."
    outside = sum(not inside(point, limits) for _, point in others)
    if outside:
        yield f"Outside the axes: {outside} of the trials that did not finish."


def inside(point: Point, limits: Limits) -> bool:
    """Return whether a point lies within the axes."""
    return all(low <= value <= high for value, (low, high) in zip(point, limits, strict=True))


def _title(summary: SweepSummary) -> str:
    if summary.outside_constraints and not summary.front:
        return f"No finished trial meets {summary.bounds}: the Pareto front is empty"
    if not summary.front:
        return "No trial finished: the Pareto front is empty"
    corner = ", ".join(f"{value:.4g}" for value in summary.best_corner)
    fraction = f"{summary.hypervolume_share:.1%} of the box up to ({corner})"
    trials = counted(len(summary.trials), "trial")
    return f"Pareto front of {trials}: hypervolume {summary.hypervolume:.4f}, {fraction}"


def _finite(point: Point) -> bool:
    return all(math.isfinite(value) for value in point)
