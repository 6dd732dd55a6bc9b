"""OpenUnlearning's conventions, against loops over single answers written after its formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score

from hamu_ray.metrics.language_names import utility_parts
from hamu_ray.metrics.text import openunlearning as ou
from hamu_ray.metrics.text.tofu import Alternatives
from hamu_ray.metrics.text.tokens import TokenScores
from hamu_ray.metrics.undefined import Undefined
from tests.metrics.ragged import NO_SCORES, each_item, made_up_scores, ragged_scores, with_broken_token


def own_exact_memorization(scores: TokenScores) -> float:
    found = []
    for correct in each_item(scores, scores.correct):
        labelled = correct[:-1]
        if labelled:
            found.append(sum(labelled) / len(labelled))
    return float(np.mean(found)) if found else math.nan


def own_extraction_strength(scores: TokenScores) -> float:
    found = []
    for correct in each_item(scores, scores.correct):
        length = len(correct) - 1
        start = 0
        for start in range(length):
            if all(correct[start:-1]):
                break
        found.append(1 - start / length if length else 0.0)
    return float(np.mean(found))


def own_scores(scores: TokenScores, *, standardised: bool) -> list[float]:
    values = scores.log_probs
    if standardised:
        values = (scores.log_probs - scores.means) / np.sqrt(np.clip(scores.deviations**2, 1e-6, None))
    found = []
    for item in each_item(scores, values):
        labelled = sorted(item[:-1])
        count = max(1, int(len(labelled) * 0.4))
        found.append(-float(np.mean(labelled[:count])) if labelled else 0.0)
    return found


@given(ragged_scores)
def test_memorization_of_answers_without_the_end_token(scores: TokenScores) -> None:
    assert ou.extraction_strength(scores) == pytest.approx(own_extraction_strength(scores))
    assert ou.exact_memorization(scores) == pytest.approx(own_exact_memorization(scores), nan_ok=True)


@given(ragged_scores, ragged_scores, st.booleans())
def test_attacks_without_the_end_token(members: TokenScores, others: TokenScores, standardised: bool) -> None:
    scores = [own_scores(each, standardised=standardised) for each in (members, others)]
    expected = roc_auc_score([0] * len(scores[0]) + [1] * len(scores[1]), scores[0] + scores[1])
    assert ou.mia_min_k(members, others, standardised=standardised) == pytest.approx(expected)


def test_a_wholly_wrong_answer_has_one_over_its_length() -> None:
    rows = np.zeros((5, 4))
    assert ou.extraction_strength(TokenScores.from_rows(rows, np.array([5]))) == 1 / 4
    rows[4, 1] = 1  # the end token alone
    assert ou.extraction_strength(TokenScores.from_rows(rows, np.array([5]))) == 1 / 4
    assert ou.exact_memorization(TokenScores.from_rows(rows, np.array([5]))) == 0


def test_privacy_leakage_is_in_percent() -> None:
    assert ou.privleak(0.9, 0.5) == pytest.approx(((1 - 0.9) - (1 - 0.5)) / (1 - 0.5) * 100)
    assert isinstance(ou.privleak(0.9, math.nan), Undefined)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_truth_ratios_with_its_denominators(scale: float) -> None:
    counts = np.array([2, 3, 1])
    right, wrong = made_up_scores([4, 5, 2], 1), made_up_scores([3, 6, 2, 4, 4, 7], 2)
    right = TokenScores(right.log_probs * scale, right.correct, right.means, right.deviations, right.lengths)
    losses = [-np.mean(item) for item in each_item(wrong, wrong.log_probs)]
    ratios = []
    for number, item in enumerate(each_item(right, right.log_probs)):
        of_item = losses[sum(counts[:number]) : sum(counts[: number + 1])]
        ratios.append(math.exp(-np.mean(of_item)) / (math.exp(np.mean(item)) + 1e-10))
    alternatives = Alternatives(right, wrong, counts)
    closer_to_one = np.mean([min(ratio, 1 / (ratio + 1e-10)) for ratio in ratios])
    assert ou.truth_ratio(alternatives, "forget") == pytest.approx(closer_to_one)
    assert ou.truth_ratio(alternatives, "retain") == pytest.approx(np.mean([max(0, 1 - r) for r in ratios]))


def test_model_utility_is_the_harmonic_mean_of_nine() -> None:
    own = {name: 0.1 * (number + 1) for number, name in enumerate(utility_parts())}
    found = {ou.TRUTH_RATIOS[split]: 0.5 for split in ("retain", "real_authors", "world_facts")}
    probs_and_rouge = [value for name, value in own.items() if "truth_ratio" not in name]
    assert ou.model_utility(own, found) == pytest.approx(hmean([*probs_and_rouge, 0.5, 0.5, 0.5]))
    assert ou.model_utility({**own, "retain_rouge": 0.0}, found) == 0
    assert isinstance(ou.model_utility({**own, "retain_rouge": math.nan}, found), Undefined)


def test_nothing_is_made_up_of_what_is_not_finite() -> None:
    good = made_up_scores([3, 4], 0)
    for scores in (NO_SCORES, with_broken_token(good, 1)):
        assert isinstance(ou.exact_memorization(scores), Undefined)
        assert isinstance(ou.extraction_strength(scores), Undefined)
        assert isinstance(ou.mia_min_k(good, scores), Undefined)
    only_ends = made_up_scores([1, 1], 0)
    assert isinstance(ou.exact_memorization(only_ends), Undefined)
    assert ou.extraction_strength(only_ends) == 0
