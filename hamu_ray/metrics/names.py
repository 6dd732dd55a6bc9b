"""Metrics of all tasks and of vision: key, definition, direction, unit. M: the model, R: the retain-only reference.

`hamu_ray.metrics.table` combines them with all other reported numbers.

The unlearning literature's UA, RA and TA (SalUn, arXiv:2310.12508) are `unlearning_accuracy`, `retain_accuracy` and
`test_accuracy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SPLITS = ("retain", "forget", "test")
"""The splits that a model is evaluated on; keys start with their names."""

UNLEARNING_ACCURACY = "unlearning_accuracy"
VALIDATION_ACCURACY = "validation_accuracy"
TEST_FORGOTTEN_CLASS_ACCURACY = "test_forgotten_class_accuracy"
TEST_KEPT_CLASSES_ACCURACY = "test_kept_classes_accuracy"
MIA_CONFIDENCE = "mia_confidence"
AUC_LOSS_RETAIN_FORGET = "auc_loss_retain_forget"
AUC_LOSS_FORGET_TEST = "auc_loss_forget_test"
AVG_GAP = "avg_gap"
FORGET_QUALITY = "forget_quality"
RETAIN_UTILITY = "retain_utility"
FORGET_QUALITY_CEILING = "forget_quality_ceiling"
FORGET_ACCURACY_QUALITY = "forget_accuracy_quality"
FORGET_LOSSES = "forget_losses"
"""The loss of each example of the forget set, which `forget_quality` compares: values behind the metrics, no metric."""
UNLEARNING_SECONDS = "unlearning_seconds"
STEPS = "steps"
GRADIENT_COMPUTATIONS = "gradient_computations"
EVALUATION_SECONDS = "evaluation_seconds"
EXCHANGE_BYTES = "exchange_bytes"
STEPS_OUTSIDE_GUARANTEE = "steps_outside_guarantee"


Kind = Literal["model", "step", "block", "cost", "sweep", "attack"]
"""What a number describes: a model, one step, one block in one step, the cost of a trial, a whole sweep, or an attack
on a model."""


@dataclass(frozen=True)
class Metric:
    """A reported number.

    ``better`` is ``neither`` if a good value is one close to R's.
    """

    name: str
    definition: str
    better: Literal["higher", "lower", "neither"] = "neither"
    unit: str = ""
    """Empty for dimensionless numbers, such as fractions in 0..1 and counts."""
    kind: Kind = "model"
    title: str = ""
    """Title of its chart; empty for numbers without a chart."""
    axis: str = ""
    """Label of the chart's axis: the formula, or the scale."""
    note: str = ""
    """Caption of the chart: how to read it."""
    original_is_best: bool = False
    """Whether the best possible value is the original model's rather than 1, as for metrics of utility."""


def accuracy_of(split: str) -> str:
    """Return the key of a split's accuracy."""
    return f"{split}_accuracy"


def loss_of(split: str) -> str:
    """Return the key of a split's mean cross-entropy."""
    return f"{split}_loss"


def entropy_of(split: str) -> str:
    """Return the key of a split's mean predictive entropy."""
    return f"{split}_entropy"


def own_metric_of(split: str, name: str) -> str:
    """Return the key of a custom task's own metric on a split."""
    return f"{split}_{name}"


def table(*metrics: Metric) -> dict[str, Metric]:
    """Return the metrics by their keys."""
    return {metric.name: metric for metric in metrics}


TEST_LOSSES = "test_losses"
"""The same for the test set, in full evaluations; without a reference, the original's replace the reference's."""

CEILING = Metric(
    FORGET_QUALITY_CEILING,
    "Mean forget_quality of each of several references against the losses of the others: what another training run "
    "without the forget set comes to",
)
"""Metrics of every task that exist with several references."""

ENGINE: Mapping[str, Metric] = table(
    Metric(
        UNLEARNING_SECONDS,
        "Wall time of the unlearning steps, or of an edit, only, without evaluation and loading",
        "lower",
        "s",
        "cost",
    ),
    Metric(
        EVALUATION_SECONDS,
        "Wall time of evaluations during and after unlearning",
        "lower",
        "s",
        "cost",
    ),
    Metric(STEPS, "Optimizer steps taken", kind="cost"),
    Metric(
        GRADIENT_COMPUTATIONS,
        "Number of computed gradients of a global batch, over both objectives; an edit's in batches of that size",
        "lower",
        kind="cost",
    ),
    Metric(
        EXCHANGE_BYTES, "Bytes that each worker sent, and received, per step", "lower", "bytes/step", "cost"
    ),
    Metric(
        STEPS_OUTSIDE_GUARANTEE,
        "Steps that left a block's radius or missed the whole model's constraint; only for HAMU's runs",
        "lower",
        kind="cost",
    ),
)
"""Costs that the engine reports for every task."""

VISION: Mapping[str, Metric] = table(
    Metric(
        accuracy_of("retain"),
        "RA: fraction of retain images whose most likely class is right",
        "higher",
        original_is_best=True,
    ),
    Metric(loss_of("retain"), "Mean cross-entropy on the retain images", "lower", "nats"),
    Metric(
        entropy_of("retain"), "Mean entropy of the predicted classes on the retain images", "neither", "nats"
    ),
    Metric(accuracy_of("forget"), "Fraction of forget images whose most likely class is right", "neither"),
    Metric(loss_of("forget"), "Mean cross-entropy on the forget images", "neither", "nats"),
    Metric(
        entropy_of("forget"), "Mean entropy of the predicted classes on the forget images", "neither", "nats"
    ),
    Metric(
        accuracy_of("test"),
        "TA: fraction of test images whose most likely class is right, without a class that is forgotten as a whole",
        "higher",
        original_is_best=True,
    ),
    Metric(loss_of("test"), "Mean cross-entropy on the test images", "lower", "nats"),
    Metric(entropy_of("test"), "Mean entropy of the predicted classes on the test images", "neither", "nats"),
    Metric(
        VALIDATION_ACCURACY,
        "Accuracy on the part of the test images that a sweep searches and selects by (data.validation)",
        "higher",
        original_is_best=True,
    ),
    Metric(TEST_FORGOTTEN_CLASS_ACCURACY, "Accuracy on the test images of the class to forget", "neither"),
    Metric(TEST_KEPT_CLASSES_ACCURACY, "Accuracy on the test images of all other classes", "higher"),
    Metric(UNLEARNING_ACCURACY, "UA: 1 - accuracy on the forget images; good is near R's", "neither"),
    Metric(
        MIA_CONFIDENCE,
        "Fraction of forget images classified as non-members by an SVC on true-class confidence; good is near R's",
        "neither",
    ),
    Metric(
        AUC_LOSS_RETAIN_FORGET,
        "ROC-AUC of distinguishing retain (member) from forget images by a lower loss; 0.5: no leak",
        "neither",
    ),
    Metric(
        AUC_LOSS_FORGET_TEST,
        "ROC-AUC of distinguishing forget (member) from test images by a lower loss; 0.5: no leak",
        "neither",
    ),
    Metric(AVG_GAP, "Mean absolute difference of M and R over UA, RA, TA and mia_confidence", "lower"),
    Metric(
        FORGET_QUALITY,
        "1 - Kolmogorov-Smirnov distance of M's and R's losses on the forget images; 1: equal, 0: one threshold "
        "separates them",
        "higher",
    ),
    Metric(
        RETAIN_UTILITY,
        "Accuracy on the test images (if there are any for validation, on those), without a class forgotten as a "
        "whole",
        "higher",
        original_is_best=True,
    ),
    CEILING,
    Metric(FORGET_ACCURACY_QUALITY, "1 - |forget accuracy of M - forget accuracy of R|", "higher"),
)
"""Metrics of the vision task."""
