"""The table of every reported number: its kind, definition, direction and unit.

Tracking looks up which of a run's metrics describe the model, and the report looks up definitions, directions and chart
titles; tests compare the table with what runs report. To add a number, add a `Metric` to the table of its kind:
`names.VISION`, `language_names.LANGUAGE` or `custom_names.CUSTOM` (of a model), `STEP`, `BLOCK`, `COSTS`,
`SWEEP` or `ATTACK` (of an audit).
The metrics of a custom task itself are named by its configuration: `own_metrics`.
"""

from collections.abc import Mapping
from typing import Any

from hamu_ray.metrics import names
from hamu_ray.metrics.attacks.names import ATTACK
from hamu_ray.metrics.custom_names import CUSTOM
from hamu_ray.metrics.language_names import FORGET_PROB_QUALITY, LANGUAGE
from hamu_ray.metrics.names import ENGINE, VISION, Kind, Metric, table

MODEL: Mapping[str, Mapping[str, Metric]] = {"vision": VISION, "language": LANGUAGE, "custom": CUSTOM}
"""Metrics of models by task. The same key may have different definitions in different tasks."""

OBJECTIVES: Mapping[str, Metric] = table(
    Metric(
        names.FORGET_QUALITY,
        "1 - KS distance of the losses on the forget set to the retain-only reference's; 1 = same as the reference",
        "higher",
    ),
    Metric(
        names.RETAIN_UTILITY,
        "score on held-out data; 1 = perfect",
        "higher",
        original_is_best=True,
    ),
    Metric(
        names.FORGET_ACCURACY_QUALITY,
        "1 - |forget accuracy - the retain-only reference's|; 1 = as accurate as the reference",
        "higher",
    ),
    Metric(
        FORGET_PROB_QUALITY,
        "1 - |forget answers' probability - the retain-only reference's|; 1 = as likely as for the reference",
        "higher",
    ),
    Metric(names.AVG_GAP, "mean distance to the retain-only reference; 0 = none", "lower"),
)
"""Task-independent definitions, for figures without a task."""

TRIAL_SECONDS = "trial_seconds"

COSTS: Mapping[str, Metric] = {
    **ENGINE,
    **table(
        Metric(
            TRIAL_SECONDS,
            "Wall time from the start of a trial to its end, including waiting",
            "lower",
            "s",
            "cost",
        )
    ),
}
"""Costs of a trial."""

STEP: Mapping[str, Metric] = table(
    Metric("step_retain_loss", "Retain objective on the step's batch", unit="nats", kind="step"),
    Metric("step_forget_loss", "Forget objective on the step's batch", unit="nats", kind="step"),
    Metric("retain_norm_before_clipping", "Norm of the retain gradient before clipping", kind="step"),
    Metric("forget_norm_before_clipping", "Norm of the forget gradient before clipping", kind="step"),
    Metric(
        "retain_norm",
        "Norm of the retain gradient r after clipping",
        kind="step",
        title="Norm of the retain gradient",
        axis="|r|",
        note="After clipping.",
    ),
    Metric(
        "forget_norm",
        "Norm of the forget gradient f after clipping",
        kind="step",
        title="Norm of the forget gradient",
        axis="|f|",
        note="After clipping.",
    ),
    Metric(
        "gradient_dot",
        "r.f over the whole model; above 0, forgetting harms retaining",
        "lower",
        kind="step",
        title="Dot product of the gradients",
        axis="r · f",
        note="As the cosine, scaled by both norms: the first-order conflict in the units of the losses.",
    ),
    Metric(
        "gradient_cosine",
        "Cosine of r and f over the whole model",
        "lower",
        kind="step",
        title="Cosine of the gradients",
        axis="cos(r, f)",
        note="Above 0, a step that forgets more also retains less, to first order.",
    ),
    Metric("gradient_angle", "Angle between r and f over the whole model", "higher", "degrees", "step"),
    Metric("constraint", "B, the constraint on the forget loss that the step must meet", kind="step"),
    Metric(
        "infeasible_blocks",
        "Blocks whose constraint no step within their radius meets",
        "lower",
        kind="step",
        title="Blocks that cannot meet the constraint",
        axis="blocks",
        note="No step within their radius forgets as much as the constraint requires.",
    ),
    Metric(
        "stopping_margin",
        "Sum of HAMU's stopping terms minus B; below 0 it stops",
        "higher",
        kind="step",
        title="HAMU's stopping margin",
        axis="sum of terms - B",
        note="Below 0, no step can serve both objectives.",
    ),
    Metric(
        "hardness",
        "Part of the available change of the guaranteed loss that is not free, in 0..1",
        "lower",
        kind="step",
        title="Hardness",
        axis="1 - H / A",
        note="Part of the available change of the guaranteed loss that is not free; 0: all of it is free.",
    ),
    Metric("blocks_outside_radius", "Blocks whose step is longer than their radius", "lower", kind="step"),
    Metric("largest_step_radii", "Largest length of a block's step, in radii", kind="step"),
    Metric(
        "constraint_shortfall",
        "Fraction of B that the step does not gain to first order",
        "lower",
        kind="step",
    ),
    *(
        Metric(
            f"promised_{role}_change",
            f"First-order change of the {role} loss by the step",
            "neither",
            "nats",
            "step",
        )
        for role in ("retain", "forget")
    ),
    *(
        Metric(
            f"actual_{role}_change",
            f"Measured change of the {role} loss on the step's batch",
            "neither",
            "nats",
            "step",
        )
        for role in ("retain", "forget")
    ),
    Metric(
        "promise_kept",
        "Actual over promised change of the guaranteed loss",
        "higher",
        kind="step",
        title="Actual over promised change",
        axis="actual / promised",
        note="Change of the guaranteed loss on the step's batch; 1: the first-order prediction was exact.",
    ),
    Metric("radius_scale", "Factor by which the trust region scales all radii", kind="step"),
    Metric("step_refused", "1 if the trust region reverted the step, else 0", "lower", kind="step"),
)
"""Diagnostics of a step over the whole model (`hamu_ray.methods.decision.Decision.totals` and the engine's)."""

BLOCK: Mapping[str, Metric] = table(
    Metric("retain_retain", "r.r of the block", kind="block"),
    Metric("forget_forget", "f.f of the block", kind="block"),
    Metric(
        "retain_forget",
        "r.f of the block; above 0, forgetting harms retaining",
        "lower",
        kind="block",
        title="dot product of the gradients",
        axis="log₁₀|r · f|, with its sign",
    ),
    Metric(
        "angle",
        "Angle between the block's gradients",
        "higher",
        "degrees",
        "block",
        title="angle between the gradients",
        axis="degrees",
    ),
    Metric("branch", "Code of the case of HAMU's solution that applied", kind="block"),
    Metric("constraint", "The block's part of B", kind="block"),
    Metric("radius", "R, the largest norm of the block's update", kind="block"),
    Metric(
        "feasibility",
        "Constraint over the largest decrease of the forget loss that the radius allows, B / (R |f|)",
        "lower",
        kind="block",
        title="constraint over available decrease",
        axis="B / (R |f|), log₁₀",
    ),
    Metric("feasible", "1 if a step within the radius meets the constraint, else 0", "higher", kind="block"),
    Metric(
        "stopping_term",
        "The block's term of HAMU's stopping criterion",
        "higher",
        kind="block",
        title="stopping term",
        axis="log₁₀",
    ),
)
"""Diagnostics of a block in a step (`hamu_ray.methods.decision.Decision.per_block`)."""

ENDS = ("finished", "infeasible", "collapsed", "pruned", "failed", "interrupted")
"""Statuses of ended trials."""

SWEEP: Mapping[str, Metric] = table(
    Metric("hypervolume", "Area that the front dominates, down to the worst corner", "higher", kind="sweep"),
    Metric(
        "hypervolume_share",
        "Hypervolume over the box from the worst to the best corner",
        "higher",
        kind="sweep",
    ),
    Metric("front_points", "Trials on the front", kind="sweep"),
    Metric("sweep_seconds", "Wall time from the first step to the last trial's end", "lower", "s", "sweep"),
    Metric(
        "busy_share",
        "Fraction of the wall time that workers spent in steps and evaluation",
        "higher",
        kind="sweep",
    ),
    *(Metric(f"trials_{end}", f"Trials that ended as {end}", kind="sweep") for end in ENDS),
)
"""Numbers of a whole sweep. It also reports the metrics of its base models, under `BASES`."""

BASES = ("original", "reference")
"""Base models. A sweep reports the mean of a metric over its base models as `original.METRIC`, `reference.METRIC`."""

OF_TRIALS: tuple[Mapping[str, Metric], ...] = (*MODEL.values(), COSTS, STEP, ATTACK)
"""The metrics of a trial's run; diagnostics of blocks are stored in a file."""


def own_metrics(document: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of a configuration's custom task that are its own, by key; empty for other tasks."""
    data = document.get("data") or {}
    named = data.get("metrics") or () if data.get("name") == "custom" else ()
    return names.table(
        *(
            Metric(names.own_metric_of(split, name), f"The task's own metric {name} on the {split} examples")
            for name in named
            for split in names.SPLITS
        )
    )


def kind_of(name: str) -> Kind | None:
    """Return the kind of a metric of a trial's run; None if the table does not contain it."""
    return next((metrics[name].kind for metrics in OF_TRIALS if name in metrics), None)


def is_model_metric(name: str) -> bool:
    """Whether a metric of a trial's run describes its model."""
    return kind_of(name) == "model"


def metric_of(name: str, task: str | None = None) -> Metric | None:
    """Return a metric of models, costs or attacks, with the definition of a given task; None if it is unknown."""
    known = (COSTS, ATTACK)
    tables = (MODEL.get(task, {}), *known) if task is not None else (OBJECTIVES, *known, *MODEL.values())
    return next((metrics[name] for metrics in tables if name in metrics), None)
