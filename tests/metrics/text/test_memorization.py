import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from hamu_ray.metrics.text.memorization import (
    extraction_strength,
    item_extraction_strengths,
    item_losses,
    item_probabilities,
    mean_loss,
    mean_probability,
    mean_token_log_probability,
    mean_token_probability,
    token_accuracy,
)
from hamu_ray.metrics.text.tokens import TokenScores
from hamu_ray.metrics.undefined import Undefined
from tests.metrics.ragged import NO_SCORES, each_item, made_up_scores, ragged_scores, with_broken_token

MEASURES = (
    mean_loss,
    mean_token_log_probability,
    mean_token_probability,
    mean_probability,
    token_accuracy,
    extraction_strength,
)

TWO_ANSWERS = TokenScores(
    log_probs=np.log([0.5, 0.5, 0.25, 0.125]),
    correct=np.array([False, True, True, False]),
    means=np.zeros(4),
    deviations=np.ones(4),
    lengths=np.array([3, 1]),
)


def test_measures_by_hand() -> None:
    first, second = (0.5 * 0.5 * 0.25) ** (1 / 3), 0.125
    assert item_losses(TWO_ANSWERS).tolist() == pytest.approx([-math.log(first), -math.log(second)])
    assert item_probabilities(TWO_ANSWERS).tolist() == pytest.approx([first, second])
    assert mean_probability(TWO_ANSWERS) == pytest.approx((first + second) / 2)
    assert mean_loss(TWO_ANSWERS) == pytest.approx(math.log(2) * (1 + 1 + 2 + 3) / 4)
    assert mean_token_log_probability(TWO_ANSWERS) == -mean_loss(TWO_ANSWERS)
    assert mean_token_probability(TWO_ANSWERS) == pytest.approx((0.5 + 0.5 + 0.25 + 0.125) / 4)
    assert token_accuracy(TWO_ANSWERS) == 0.5
    assert item_extraction_strengths(TWO_ANSWERS).tolist() == pytest.approx([2 / 3, 0])
    assert extraction_strength(TWO_ANSWERS) == pytest.approx(1 / 3)


@given(ragged_scores)
def test_losses_and_probabilities_of_items_are_those_of_a_loop(scores: TokenScores) -> None:
    losses = [-math.fsum(item) / len(item) for item in each_item(scores, scores.log_probs)]
    assert item_losses(scores).tolist() == pytest.approx(losses)
    assert item_probabilities(scores).tolist() == pytest.approx([math.exp(-loss) for loss in losses])


@given(ragged_scores)
def test_extraction_strength_is_the_first_start_from_which_all_tokens_are_right(scores: TokenScores) -> None:
    expected = []
    for item in each_item(scores, scores.correct):
        start = next((k for k in range(len(item)) if all(item[k:])), len(item))
        expected.append(1 - start / len(item))
    assert item_extraction_strengths(scores).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_broken_or_absent_is_never_measured(measure: Callable[[TokenScores], float]) -> None:
    scores = made_up_scores([4, 2, 5], seed=0)
    assert math.isfinite(measure(scores))
    for other, reason in (
        (with_broken_token(scores, 5), "the logits of 1 of 11 answer tokens are not finite"),
        (NO_SCORES, "there are no items"),
    ):
        value = measure(other)
        assert isinstance(value, Undefined)
        assert value.reason == reason


def test_only_the_broken_item_is_not_finite() -> None:
    scores = with_broken_token(made_up_scores([4, 2, 5], seed=0), 5)
    for values in (item_losses(scores), item_probabilities(scores), item_extraction_strengths(scores)):
        assert np.isfinite(values).tolist() == [True, False, True]
