"""What the picture of a sweep's front shows: what is where, in which colour, how far the axes reach."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hamu_ray.reports.front.palette import look_of
from hamu_ray.results.front import Point
from hamu_ray.results.summary import SweepSummary, method_of
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import DEFINITIONS

CLOSE_UP_BELOW = 0.4
"""An axis shows less than 0..1 when the finished trials span less than this of it."""
MARGIN = 0.12
LEAST_SPAN = 0.02


@dataclass(frozen=True)
class Series:
    """The finished trials of one method."""

    method: str
    colour: str
    marker: str
    filled: bool
    """Hollow from the eighth method on, when the colours come again."""
    trials: tuple[TrialRecord, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class FrontPlot:
    """All that a picture shows, in the objectives' units."""

    title: str
    axes: tuple[str, str]
    definitions: tuple[str, str]
    limits: tuple[Point, Point]
    """Ends of the two axes."""
    series: tuple[Series, ...]
    others: tuple[tuple[TrialRecord, Point], ...]
    """Trials that cannot be on the front but have finite objectives."""
    stairs: tuple[Point, ...]
    """Corners of the front's step line, from edge to edge of the picture."""
    knee: Point | None
    anchors: tuple[tuple[str, str, Point], ...]
    """Letter, name and place of the original and the retain-only reference."""
    notes: tuple[str, ...]
    """What a reader has to know: close-ups, and what lies outside."""


def compose(
    summary: SweepSummary,
    definitions: Mapping[str, str] = DEFINITIONS,
    methods: Sequence[str] | None = None,
) -> FrontPlot:
    """Lay out the picture of a summary, with a line to explain each objective.

    Pictures that are given the same `methods`, in order, have the same colours; None takes the summary's own.
    """
    series = tuple(_series(summary, methods))
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
    shown = [point for one in series for point in one.points]
    everything = shown + [point for _, point in others] + [point for _, _, point in anchors]
    horizontal = _limits([x for x, _ in shown], [x for x, _ in everything])
    limits = horizontal, _limits([y for _, y in shown], [y for _, y in everything])
    names = [objective.metric for objective in summary.objectives]
    return FrontPlot(
        title=_title(summary),
        axes=(names[0].replace("_", " "), names[1].replace("_", " ")),
        definitions=(definitions.get(names[0], ""), definitions.get(names[1], "")),
        limits=limits,
        series=series,
        others=others,
        stairs=stairs_of(summary, limits),
        knee=summary.point(summary.knee.measures) if summary.knee else None,
        anchors=anchors,
        notes=tuple(_notes(names, limits, others, anchors)),
    )


def _series(summary: SweepSummary, methods: Sequence[str] | None) -> Iterator[Series]:
    """Yield a series for each method of the sweep, also for one without finished trials: colours stay."""
    for i, method in enumerate(methods or sorted({method_of(trial) for trial in summary.trials})):
        pairs = [
            (trial, point)
            for trial in summary.trials
            if method_of(trial) == method
            and trial.status is Status.FINISHED
            and _finite(point := summary.point(trial.measures))
        ]
        if pairs:
            trials, points = zip(*pairs, strict=True)
            yield Series(method, *look_of(i), trials, points)


def _limits(shown: Sequence[float], everything: Sequence[float]) -> Point:
    """Return an axis' ends: 0..1 and what lies beyond, or a close-up of trials that are close together."""
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


def stairs_of(summary: SweepSummary, limits: tuple[Point, Point]) -> tuple[Point, ...]:
    """Return the border of what the front dominates, out to the worst ends of both axes."""
    if not summary.front:
        return ()
    points = [summary.point(trial.measures) for trial in summary.front]  # from worst to best first objective
    worst = [ends[0] if o.maximise else ends[1] for ends, o in zip(limits, summary.objectives, strict=True)]
    corners = [(worst[0], points[0][1])]
    for (x, y), (_, following) in zip(points, [*points[1:], (0.0, worst[1])], strict=True):
        corners += [(x, y), (x, following)]
    return tuple(corners)


def _notes(
    names: Sequence[str],
    limits: tuple[Point, Point],
    others: Sequence[tuple[TrialRecord, Point]],
    anchors: Sequence[tuple[str, str, Point]],
) -> Iterator[str]:
    close = [
        f"{name.replace('_', ' ')} {low:.3g} to {high:.3g}"
        for name, (low, high) in zip(names, limits, strict=True)
        if high - low < 0.9
    ]
    if close:
        yield f"Close-up: {', '.join(close)}."
    for letter, name, point in anchors:
        if not inside(point, limits):
            yield f"Outside the picture: {letter}, the {name}, at ({point[0]:.3g}, {point[1]:.3g})."
    outside = sum(not inside(point, limits) for _, point in others)
    if outside:
        yield f"Outside the picture: {outside} of the trials that did not finish."


def inside(point: Point, limits: tuple[Point, Point]) -> bool:
    """Whether a point lies within the axes."""
    return all(low <= value <= high for value, (low, high) in zip(point, limits, strict=True))


def _title(summary: SweepSummary) -> str:
    if not summary.front:
        return "No finished trial: the front is empty"
    corner = ", ".join(f"{value:.4g}" for value in summary.best_corner)
    share = f"{summary.hypervolume_share:.1%} of the box up to ({corner})"
    trials = "1 trial" if len(summary.trials) == 1 else f"{len(summary.trials)} trials"
    return f"Front of {trials}: hypervolume {summary.hypervolume:.4f}, {share}"


def _finite(point: Point) -> bool:
    return all(math.isfinite(value) for value in point)
