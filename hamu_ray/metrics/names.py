"""Metrics of all tasks and of vision: key, definition, direction, unit. M: the model, R: the retain-only reference.

`hamu_ray.metrics.table` collects them with all other reported numbers.

The unlearning literature's UA, RA and TA (SalUn, arXiv:2310.12508) are `unlearning_accuracy`,
`retain_accuracy` and `test_accuracy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SPLITS = ("retain", "forget", "test")
"""The splits that a model is measured on; keys start with their names."""

UNLEARNING_ACCURACY = "unlearning_accuracy"
TEST_FORGOTTEN_CLASS_ACCURACY = "test_forgotten_class_accuracy"
TEST_KEPT_CLASSES_ACCURACY = "test_kept_classes_accuracy"
MIA_CONFIDENCE = "mia_confidence"
AUC_LOSS_RETAIN_FORGET = "auc_loss_retain_forget"
AUC_LOSS_FORGET_TEST = "auc_loss_forget_test"
AVG_GAP = "avg_gap"
FORGET_QUALITY = "forget_quality"
RETAIN_UTILITY = "retain_utility"
UNLEARNING_SECONDS = "unlearning_seconds"
STEPS = "steps"
GRADIENT_COMPUTATIONS = "gradient_computations"
EVALUATION_SECONDS = "evaluation_seconds"
EXCHANGE_BYTES = "exchange_bytes"
STEPS_OUTSIDE_GUARANTEE = "steps_outside_guarantee"


Kind = Literal["model", "step", "block", "cost", "sweep"]
"""What a number describes: a model, one step, one block in one step, the cost of a trial, or a whole sweep."""


@dataclass(frozen=True)
class Metric:
    """A reported number.

    ``better`` is ``neither`` where a good value is one near R's, not an extreme one.
    """

    name: str
    definition: str
    better: Literal["higher", "lower", "neither"] = "neither"
    unit: str = ""
    """Empty for dimensionless numbers, such as fractions in 0..1 and counts."""
    kind: Kind = "model"


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


ENGINE: Mapping[str, Metric] = table(
    Metric(
        UNLEARNING_SECONDS,
        "Wall time of the unlearning steps alone, no evaluation, no loading",
        "lower",
        "s",
        "cost",
    ),
    Metric(
        EVALUATION_SECONDS,
        "Wall time of measuring the model during and after unlearning",
        "lower",
        "s",
        "cost",
    ),
    Metric(STEPS, "Optimizer steps taken", kind="cost"),
    Metric(
        GRADIENT_COMPUTATIONS,
        "Gradients of a global batch computed, both objectives counted",
        "lower",
        kind="cost",
    ),
    Metric(
        EXCHANGE_BYTES, "Bytes that each worker sent, and received, per step", "lower", "bytes/step", "cost"
    ),
    Metric(
        STEPS_OUTSIDE_GUARANTEE,
        "Steps that left a block's radius or missed the whole model's constraint; of HAMU's runs alone",
        "lower",
        kind="cost",
    ),
)
"""Costs that the engine reports for every task."""

VISION: Mapping[str, Metric] = table(
    Metric(accuracy_of("retain"), "RA: share of retain images whose most likely class is right", "higher"),
    Metric(loss_of("retain"), "Mean cross-entropy on the retain images", "lower", "nats"),
    Metric(
        entropy_of("retain"), "Mean entropy of the predicted classes on the retain images", "neither", "nats"
    ),
    Metric(accuracy_of("forget"), "Share of forget images whose most likely class is right", "neither"),
    Metric(loss_of("forget"), "Mean cross-entropy on the forget images", "neither", "nats"),
    Metric(
        entropy_of("forget"), "Mean entropy of the predicted classes on the forget images", "neither", "nats"
    ),
    Metric(accuracy_of("test"), "TA: share of test images whose most likely class is right", "higher"),
    Metric(loss_of("test"), "Mean cross-entropy on the test images", "lower", "nats"),
    Metric(entropy_of("test"), "Mean entropy of the predicted classes on the test images", "neither", "nats"),
    Metric(TEST_FORGOTTEN_CLASS_ACCURACY, "Accuracy on the test images of the class to forget", "neither"),
    Metric(TEST_KEPT_CLASSES_ACCURACY, "Accuracy on the test images of all other classes", "higher"),
    Metric(UNLEARNING_ACCURACY, "UA: 1 - accuracy on the forget images; good is near R's", "neither"),
    Metric(
        MIA_CONFIDENCE,
        "Share of forget images called non-members by an SVC on true-class confidence; good is near R's",
        "neither",
    ),
    Metric(
        AUC_LOSS_RETAIN_FORGET,
        "ROC-AUC of telling retain (member) from forget images by a lower loss; 0.5: no leak",
        "neither",
    ),
    Metric(
        AUC_LOSS_FORGET_TEST,
        "ROC-AUC of telling forget (member) from test images by a lower loss; 0.5: no leak",
        "neither",
    ),
    Metric(AVG_GAP, "Mean absolute difference of M and R over UA, RA, TA and mia_confidence", "lower"),
    Metric(FORGET_QUALITY, "1 - |forget accuracy of M - forget accuracy of R|", "higher"),
    Metric(RETAIN_UTILITY, "Accuracy of M on the retain images", "higher"),
)
"""Metrics of the vision task."""
