"""Metrics of custom tasks, beside those of their own. M: the model, R: the retain-only reference."""

from collections.abc import Mapping

from hamu_ray.metrics.names import (
    CEILING,
    FORGET_QUALITY,
    RETAIN_UTILITY,
    SPLITS,
    Metric,
    accuracy_of,
    loss_of,
    table,
)

CUSTOM: Mapping[str, Metric] = table(
    *(
        Metric(
            loss_of(split),
            f"Mean loss on the {split} examples, by the task's loss",
            "neither" if split == "forget" else "lower",
        )
        for split in SPLITS
    ),
    *(
        Metric(
            accuracy_of(split),
            f"Share of {split} examples whose most likely class is right; of classifiers alone",
            "neither" if split == "forget" else "higher",
        )
        for split in SPLITS
    ),
    Metric(
        FORGET_QUALITY,
        "1 - the Kolmogorov-Smirnov distance of the losses of M and of R on the forget examples",
        "higher",
    ),
    Metric(
        RETAIN_UTILITY,
        "Test accuracy of M, or the task's own metric that it names, on the test examples",
        "higher",
        original_is_best=True,
    ),
    CEILING,
)
"""Metrics of every custom task. A task's own metrics are reported for each split under `names.own_metric_of`."""
