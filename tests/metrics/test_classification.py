import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.metrics.classification import (
    accuracy,
    example_entropies,
    example_losses,
    mean_entropy,
    mean_loss,
    true_class_confidences,
)
from hamu_ray.metrics.undefined import Undefined

LABELS = torch.tensor([0, 2, 1])


def brute_force(logits: list[float], label: int) -> tuple[float, float, float]:
    exponentials = [math.exp(value) for value in logits]
    probabilities = [value / sum(exponentials) for value in exponentials]
    entropy = -sum(p * math.log(p) for p in probabilities)
    return -math.log(probabilities[label]), probabilities[label], entropy


@given(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), st.integers(0, 2))
def test_per_example_values_agree_with_the_textbook(logits: list[float], label: int) -> None:
    rows, labels = torch.tensor([logits]), torch.tensor([label])
    loss, confidence, entropy = brute_force(logits, label)
    assert example_losses(rows, labels).item() == pytest.approx(loss, rel=1e-4, abs=1e-5)
    assert true_class_confidences(rows, labels).item() == pytest.approx(confidence, rel=1e-4, abs=1e-5)
    assert example_entropies(rows).item() == pytest.approx(entropy, rel=1e-4, abs=1e-5)


def test_hand_computed_means() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]))
    assert accuracy(logits, LABELS) == pytest.approx(2 / 3)
    assert mean_loss(logits, LABELS) == pytest.approx((math.log(2) + math.log(4) + math.log(2)) / 3)
    assert mean_entropy(logits) == pytest.approx(1.5 * math.log(2))


def test_half_precision_logits_are_measured_in_float32() -> None:
    logits = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.bfloat16)
    confidence = true_class_confidences(logits, torch.tensor([0]))
    assert confidence.dtype == torch.float32
    assert confidence.item() == pytest.approx(1 / (1 + 2 * math.exp(-8)), abs=1e-6)


def test_a_class_of_probability_zero_adds_no_entropy() -> None:
    assert example_entropies(torch.tensor([[0.0, 0.0, -math.inf]])).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_never_measured(broken: float) -> None:
    logits = torch.zeros(3, 3)
    logits[1, 2] = broken
    for measure in (accuracy(logits, LABELS), mean_loss(logits, LABELS), mean_entropy(logits)):
        assert isinstance(measure, Undefined)
        assert measure.reason == "the logits of 1 of 3 examples are not finite"


def test_no_examples_are_never_measured() -> None:
    nothing = torch.zeros(0, 3)
    for measure in (accuracy(nothing, LABELS[:0]), mean_loss(nothing, LABELS[:0]), mean_entropy(nothing)):
        assert isinstance(measure, Undefined)
        assert np.isnan(measure)
