"""The metrics of one image classifier, from its logits on the three splits."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hamu_ray.metrics import names
from hamu_ray.metrics.classification import (
    accuracy,
    example_losses,
    mean_entropy,
    mean_loss,
    true_class_confidences,
)
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.membership import auc_loss, mia_confidence
from hamu_ray.metrics.undefined import Undefined
from hamu_ray.tasks.task import Outputs

UNSEEN = "unseen"
"""The test images of the classes that the retain set has none of. They are no part of the test split."""

CHEAP = (
    *(of(split) for split in names.SPLITS for of in (names.accuracy_of, names.loss_of, names.entropy_of)),
    names.UNLEARNING_ACCURACY,
)
"""The metrics that `cheap_measures` returns, in order."""

ALL = (
    *CHEAP,
    names.TEST_FORGOTTEN_CLASS_ACCURACY,
    names.TEST_KEPT_CLASSES_ACCURACY,
    names.AUC_LOSS_RETAIN_FORGET,
    names.AUC_LOSS_FORGET_TEST,
    names.MIA_CONFIDENCE,
)
"""The metrics that `all_measures` returns, in order."""


def cheap_measures(splits: Mapping[str, Outputs]) -> Measures:
    """Return accuracy, loss and entropy of the splits named in `names.SPLITS`, and UA."""
    measures: Measures = {}
    for split in names.SPLITS:
        logits, labels = splits[split].logits, splits[split].labels
        measures[names.accuracy_of(split)] = accuracy(logits, labels)
        measures[names.loss_of(split)] = mean_loss(logits, labels)
        measures[names.entropy_of(split)] = mean_entropy(logits)
    forgotten = measures[names.accuracy_of("forget")]
    measures[names.UNLEARNING_ACCURACY] = forgotten if isinstance(forgotten, Undefined) else 1.0 - forgotten
    return measures


def all_measures(splits: Mapping[str, Outputs], *, forgotten_class: int | None, seed: int) -> Measures:
    """Return the cheap metrics, the test accuracy in two parts, and the membership attacks.

    ``splits`` also has the images `UNSEEN`, of which there may be none. ``forgotten_class`` is None where no
    class is forgotten; the seed decides the attack's draw of members.
    """
    measures = cheap_measures(splits)
    test, unseen = splits["test"], splits[UNSEEN]
    if forgotten_class is None:
        none = Undefined("the forget set is not a class")
        measures[names.TEST_FORGOTTEN_CLASS_ACCURACY] = measures[names.TEST_KEPT_CLASSES_ACCURACY] = none
    else:
        logits, labels = torch.cat([test.logits, unseen.logits]), torch.cat([test.labels, unseen.labels])
        is_forgotten = labels == forgotten_class
        measures[names.TEST_FORGOTTEN_CLASS_ACCURACY] = accuracy(logits[is_forgotten], labels[is_forgotten])
        measures[names.TEST_KEPT_CLASSES_ACCURACY] = accuracy(logits[~is_forgotten], labels[~is_forgotten])
    losses = {split: _numpy(example_losses(of.logits, of.labels)) for split, of in splits.items()}
    measures[names.AUC_LOSS_RETAIN_FORGET] = auc_loss(losses["retain"], losses["forget"])
    measures[names.AUC_LOSS_FORGET_TEST] = auc_loss(losses["forget"], losses["test"])
    confidences = {
        split: _numpy(true_class_confidences(of.logits, of.labels)) for split, of in splits.items()
    }
    measures[names.MIA_CONFIDENCE] = mia_confidence(
        confidences["retain"], confidences["test"], confidences["forget"], seed=seed
    )
    return measures


def forget_losses(forget: Outputs) -> list[float]:
    """Return the loss of each image to forget in nats, in float64: near 0, float32 would make different ones equal."""
    return example_losses(forget.logits, forget.labels, torch.float64).tolist()


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
