import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hamu_ray.metrics import Undefined
from hamu_ray.metrics.text.benchmarks import choice_accuracy, first_answer, membership_auc, rouge_f1
from hamu_ray.metrics.text.tokens import TokenScores
from tests.metrics.ragged import made_up_scores, with_broken_token


def longest_common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, by its recursion."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest_common(one[1:], other[1:])
    return max(longest_common(one[1:], other), longest_common(one, other[1:]))


def f1(answer: str, truth: str) -> float:
    a, t = answer.lower().split(), truth.lower().split()
    common = longest_common(a, t)
    return 2 * common / (len(a) + len(t))


def test_rouge_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    answers = ["the cat sat on a mat", "Running quickly home", "nothing shared"]
    truths = ["a cat sat on the mat today", "they ran quickly home", "other words"]
    expected = np.mean([f1(answer, truth) for answer, truth in zip(answers, truths, strict=True)])
    assert rouge_f1(answers, truths) == pytest.approx(expected)
    assert rouge_f1(["runs"], ["running"]) == 0, "words are not stemmed"
    assert isinstance(rouge_f1([], []), Undefined)
    with pytest.raises(ValueError, match="1 answers for 2 true ones"):
        rouge_f1(["a"], ["a", "b"])


@pytest.mark.parametrize(
    "generated",
    ["in Rome\n\nQuestion: who", "in Rome\nQuestion: who", "in RomeQuestion: who", "in Rome"],
)
def test_an_answer_ends_where_the_model_asks_itself(generated: str) -> None:
    assert first_answer(generated) == "in Rome"


def test_the_membership_auc_leaves_end_tokens_out() -> None:
    members, others = made_up_scores([5, 11, 4, 21], 1), made_up_scores([8, 6, 3], 2)

    def mink(scores: TokenScores) -> list[float]:
        items = np.split(scores.log_probs, np.cumsum(scores.lengths)[:-1])
        return [np.sort(item[:-1])[: max(1, int(0.4 * (len(item) - 1)))].mean() for item in items]

    labels = [1] * 4 + [0] * 3
    expected = roc_auc_score(labels, mink(members) + mink(others))
    assert membership_auc(members, others, 40) == pytest.approx(expected)
    assert math.isnan(membership_auc(with_broken_token(members, 3), others, 40))


def test_the_most_likely_option_is_the_model_s_answer() -> None:
    lengths = np.array([2, 3, 2, 2, 2, 2])
    log_probs = np.array([-1.0, -9, -0.4, -0.5, -9, -2, 0, -3, 0, -2, 0, -2, 0])
    nothing = np.zeros(13)
    scores = TokenScores(log_probs, nothing > 1, nothing, nothing, lengths)
    # Without end tokens: -1, -0.9, -2 of the first question; -3, -2, -2 of the second, the first of equal ones counts.
    assert choice_accuracy(scores, [3, 3], [1, 1]) == 1
    assert choice_accuracy(scores, [3, 3], [1, 2]) == 0.5
    assert choice_accuracy(scores, [3, 3], [0, 0]) == 0
    assert math.isnan(choice_accuracy(with_broken_token(scores, 3), [3, 3], [1, 1]))


def test_scores_without_end_tokens() -> None:
    scores = made_up_scores([1, 3, 2], 0).without_end()
    assert scores.lengths.tolist() == [1, 2, 1]
    whole = made_up_scores([1, 3, 2], 0).log_probs
    assert scores.log_probs.tolist() == whole[[0, 1, 2, 4]].tolist()
