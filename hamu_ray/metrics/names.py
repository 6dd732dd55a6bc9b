"""Every metric key, what it means and which direction is better. M: the model, R: the retain-only reference.

The unlearning literature's UA, RA and TA (SalUn, arXiv:2310.12508) are `unlearning_accuracy`,
`retain_accuracy` and `test_accuracy`; accuracies are shares in 0..1 and losses are in nats.
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


@dataclass(frozen=True)
class Metric:
    """What a metric key stands for.

    ``better`` is ``neither`` where a good value is one near R's, not an extreme one.
    """

    name: str
    definition: str
    better: Literal["higher", "lower", "neither"]


def accuracy_of(split: str) -> str:
    """Return the key of a split's accuracy."""
    return f"{split}_accuracy"


def loss_of(split: str) -> str:
    """Return the key of a split's mean cross-entropy."""
    return f"{split}_loss"


def entropy_of(split: str) -> str:
    """Return the key of a split's mean predictive entropy."""
    return f"{split}_entropy"


def table(*metrics: Metric) -> dict[str, Metric]:
    """Return the metrics by their keys."""
    return {metric.name: metric for metric in metrics}


ENGINE: Mapping[str, Metric] = table(
    Metric(UNLEARNING_SECONDS, "Wall time of the unlearning steps alone, no evaluation, no loading", "lower"),
    Metric(EVALUATION_SECONDS, "Wall time of measuring the model during and after unlearning", "lower"),
    Metric(STEPS, "Optimizer steps taken", "neither"),
    Metric(GRADIENT_COMPUTATIONS, "Gradients of a global batch computed, both objectives counted", "lower"),
    Metric(EXCHANGE_BYTES, "Bytes that each worker sent, and received, per step", "lower"),
)
"""What the engine reports for every task."""

VISION: Mapping[str, Metric] = table(
    Metric(accuracy_of("retain"), "RA: share of retain images whose most likely class is right", "higher"),
    Metric(loss_of("retain"), "Mean cross-entropy on the retain images", "lower"),
    Metric(entropy_of("retain"), "Mean entropy of the predicted classes on the retain images", "neither"),
    Metric(accuracy_of("forget"), "Share of forget images whose most likely class is right", "neither"),
    Metric(loss_of("forget"), "Mean cross-entropy on the forget images", "neither"),
    Metric(entropy_of("forget"), "Mean entropy of the predicted classes on the forget images", "neither"),
    Metric(accuracy_of("test"), "TA: share of test images whose most likely class is right", "higher"),
    Metric(loss_of("test"), "Mean cross-entropy on the test images", "lower"),
    Metric(entropy_of("test"), "Mean entropy of the predicted classes on the test images", "neither"),
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
"""What the vision task measures."""
