import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.metrics.text.rouge import item_rouge_recalls, rouge_recall
from hamu_ray.metrics.undefined import Undefined

words = st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), min_size=1, max_size=8)


def longest_common_subsequence(first: list[str], second: list[str]) -> int:
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + longest_common_subsequence(first[1:], second[1:])
    return max(longest_common_subsequence(first[1:], second), longest_common_subsequence(first, second[1:]))


@given(words, words)
def test_recall_is_the_common_subsequence_by_the_truths_words(answer: list[str], truth: list[str]) -> None:
    expected = longest_common_subsequence(answer, truth) / len(truth)
    assert item_rouge_recalls([" ".join(answer)], [" ".join(truth)])[0] == pytest.approx(expected)


def test_recall_by_hand() -> None:
    truth = "The author was born in Lagos."
    answers = ["the AUTHOR lives in Lagos, in a house", "", truth, "Lagos in born was author the"]
    np.testing.assert_allclose(item_rouge_recalls(answers, [truth] * 4), [4 / 6, 0, 1, 1 / 6])
    assert rouge_recall(answers, [truth] * 4) == pytest.approx((4 + 0 + 6 + 1) / 6 / 4)


def test_words_are_stemmed() -> None:
    assert rouge_recall(["she writes novels"], ["writing novel"]) == 1


def test_a_truth_that_has_no_words_for_the_package_is_not_scored() -> None:
    recall = rouge_recall(["Лагос", "Lagos"], ["Лагос", "Lagos"])
    assert isinstance(recall, Undefined)
    assert recall.reason == "1 of 2 true answers have no words of a-z or digits"


def test_every_truth_needs_an_answer() -> None:
    assert isinstance(rouge_recall([], []), Undefined)
    with pytest.raises(ValueError, match="1 answers for 2"):
        rouge_recall(["a"], ["a", "b"])
