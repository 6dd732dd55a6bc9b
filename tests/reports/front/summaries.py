"""Summaries to draw: many methods, few trials, none."""

from hamu_ray.config.search import Objective
from hamu_ray.results.pareto.summary import summarise
from hamu_ray.results.trial import Status
from tests.made_records import ORIGINAL, REFERENCE, record, sweep

COLLAPSED = record("x", 0.3, 0.1, "ga", Status.COLLAPSED, reason="<perplexity>")

SUMMARIES = {
    "nine methods": summarise(sweep(), original=ORIGINAL, reference=REFERENCE),
    "close together": summarise(sweep(tight=True), original=ORIGINAL, reference=REFERENCE),
    "one trial": summarise([record("a", 0.8, 0.9)], original=ORIGINAL, reference=REFERENCE),
    "not guaranteed": summarise(
        [record("a", 0.8, 0.9, steps_outside_guarantee=2), record("b", 0.5, 0.8, steps_outside_guarantee=0)]
    ),
    "none finished": summarise([COLLAPSED], original=ORIGINAL),
    "no trial": summarise([]),
    "minimised": summarise(
        [record("a", 0, 0.9, measures={"avg_gap": 0.2}), record("b", 0, 0.8, measures={"avg_gap": 0.1})],
        (Objective(metric="avg_gap", mode="min"), Objective(metric="retain_utility")),
    ),
    "three objectives": summarise(
        [*sweep(), record("b", 1.0, 0.7, steps_outside_guarantee=2, measures={"avg_gap": 0.0}), COLLAPSED],
        (
            Objective(metric="forget_quality"),
            Objective(metric="avg_gap", mode="min"),
            Objective(metric="retain_utility"),
        ),
        original=ORIGINAL,
        reference=REFERENCE,
    ),
}
