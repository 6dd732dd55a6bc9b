import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean, ks_2samp

from hamu_ray.metrics.language_names import truth_ratio_of, utility_parts
from hamu_ray.metrics.text.memorization import item_losses
from hamu_ray.metrics.text.tofu import (
    Alternatives,
    forget_quality_ks,
    indifference,
    log10_of_p_value,
    log_truth_ratios,
    model_utility,
    option_probability,
    truthfulness,
)
from hamu_ray.metrics.text.tokens import TokenScores
from hamu_ray.metrics.undefined import Undefined
from tests.metrics.ragged import NO_SCORES, made_up_scores, with_broken_token


def answers(*probabilities: float) -> TokenScores:
    """Answers of two tokens each, with these length-normalised probabilities."""
    logs = np.log(np.repeat(probabilities, 2)) + np.tile([-0.5, 0.5], len(probabilities))
    rows = np.stack([logs, np.ones_like(logs), logs, np.ones_like(logs)], axis=1)
    return TokenScores.from_rows(rows, np.full(len(probabilities), 2))


# TR: (0.1 + 0.4) / 2 / 0.5 = 0.5, geometric sqrt(0.1 * 0.4) / 0.5 = 0.4; and 0.8 / 0.2 = 4.
BY_HAND = Alternatives(right=answers(0.5, 0.2), wrong=answers(0.1, 0.4, 0.8), counts=np.array([2, 1]))

made_up_alternatives = st.builds(
    lambda counts, seed: Alternatives(
        made_up_scores([3] * len(counts), seed), made_up_scores([2] * sum(counts), seed + 1), np.array(counts)
    ),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.integers(0, 2**31),
)


def test_truth_ratios_by_hand() -> None:
    assert np.exp(log_truth_ratios(BY_HAND)).tolist() == pytest.approx([0.5, 4])
    assert np.exp(log_truth_ratios(BY_HAND, geometric=True)).tolist() == pytest.approx([0.4, 4])
    assert truthfulness(BY_HAND) == pytest.approx((0.5 + 0) / 2)
    assert truthfulness(BY_HAND, geometric=True) == pytest.approx((0.6 + 0) / 2)
    assert indifference(BY_HAND) == pytest.approx((0.5 + 0.25) / 2)
    assert indifference(BY_HAND, geometric=True) == pytest.approx((0.4 + 0.25) / 2)
    assert option_probability(BY_HAND) == pytest.approx((0.5 / (0.5 + 0.1 + 0.4) + 0.2 / (0.2 + 0.8)) / 2)


@given(made_up_alternatives)
def test_truth_ratios_and_options_are_those_of_a_loop(alternatives: Alternatives) -> None:
    right = np.exp(-item_losses(alternatives.right)).tolist()
    wrong = iter(np.exp(-item_losses(alternatives.wrong)).tolist())
    ratios, geometric, shares = [], [], []
    for p, count in zip(right, alternatives.counts.tolist(), strict=True):
        others = [next(wrong) for _ in range(count)]
        ratios.append(sum(others) / count / p)
        geometric.append(math.prod(others) ** (1 / count) / p)
        shares.append(p / (p + sum(others)))
    assert np.exp(log_truth_ratios(alternatives)).tolist() == pytest.approx(ratios)
    assert np.exp(log_truth_ratios(alternatives, geometric=True)).tolist() == pytest.approx(geometric)
    assert option_probability(alternatives) == pytest.approx(np.mean(shares))
    assert truthfulness(alternatives) == pytest.approx(np.mean([max(0, 1 - ratio) for ratio in ratios]))
    assert indifference(alternatives) == pytest.approx(np.mean([min(ratio, 1 / ratio) for ratio in ratios]))


def test_a_ratio_beyond_floats_stays_a_number() -> None:
    hopeless = TokenScores.from_rows(np.array([[-1000.0, 0, 0, 1]]), np.array([1]))
    alternatives = Alternatives(hopeless, answers(0.5), np.array([1]))
    assert log_truth_ratios(alternatives).tolist() == pytest.approx([1000 + math.log(0.5)])
    assert truthfulness(alternatives) == indifference(alternatives) == option_probability(alternatives) == 0


def test_answers_have_to_fit() -> None:
    for counts, problem in (([2], "2 right answers, 1 counts"), ([3, 0], "at least one"), ([2, 2], "not 4")):
        with pytest.raises(ValueError, match=problem):
            Alternatives(answers(0.5, 0.2), answers(0.1, 0.4, 0.8), np.array(counts))


@pytest.mark.parametrize("measure", [truthfulness, indifference, option_probability])
def test_broken_or_absent_answers_are_not_measured(measure) -> None:  # type: ignore[no-untyped-def]
    broken = with_broken_token(BY_HAND.wrong, 3)
    for alternatives, reason in (
        (
            Alternatives(BY_HAND.right, broken, BY_HAND.counts),
            "the logits of 1 of 6 answer tokens are not finite",
        ),
        (Alternatives(NO_SCORES, NO_SCORES, np.zeros(0, dtype=np.int64)), "there are no items"),
    ):
        value = measure(alternatives)
        assert isinstance(value, Undefined)
        assert value.reason == reason


def test_forget_quality_is_scipys_test() -> None:
    generator = np.random.default_rng(0)
    same, other = generator.normal(size=(2, 40)), generator.normal(1.5, size=60)
    p_alike, p_different = forget_quality_ks(same[0], same[1].tolist()), forget_quality_ks(same[0], other)
    assert p_alike == ks_2samp(same[0], same[1]).pvalue > 0.05
    assert p_different == ks_2samp(same[0], other).pvalue < 1e-6
    assert forget_quality_ks(same[0], same[0][::-1]) == 1


def test_forget_quality_by_hand() -> None:
    # Of the 20 ways to order 3 and 3 values, the two without any overlap are as far apart.
    assert forget_quality_ks([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)


def test_forget_quality_does_not_change_under_logarithms() -> None:
    generator = np.random.default_rng(1)
    model, reference = generator.lognormal(0, 1, 50), generator.lognormal(0.5, 1, 50)
    assert forget_quality_ks(np.log(model), np.log(reference)) == forget_quality_ks(model, reference)


def test_forget_quality_needs_whole_samples() -> None:
    for model, reference, reason in (
        ([1.0], [], "there are no truth ratios of the reference"),
        ([math.nan, 1.0], [1.0], "1 of 2 truth ratios of the model are not finite"),
    ):
        value = forget_quality_ks(model, reference)
        assert isinstance(value, Undefined)
        assert value.reason == reason


def test_logarithm_of_a_p_value() -> None:
    assert log10_of_p_value(1e-20) == pytest.approx(-20)
    assert log10_of_p_value(1) == 0
    for p_value, reason in (
        (0.0, "the p-value is too small for a float"),
        (Undefined("no reference"), "the p-value is not defined: no reference"),
    ):
        value = log10_of_p_value(p_value)
        assert isinstance(value, Undefined)
        assert value.reason == reason


@given(st.lists(st.floats(0.01, 1), min_size=9, max_size=9), st.booleans())
def test_utility_is_the_harmonic_mean(values: list[float], geometric: bool) -> None:
    measures = dict(zip(utility_parts(geometric=geometric), values, strict=True))
    assert model_utility(measures, geometric=geometric) == pytest.approx(hmean(values))


def test_utility_of_nothing_at_one_task_is_nothing() -> None:
    measures = dict.fromkeys(utility_parts(), 0.9)
    assert model_utility(measures) == pytest.approx(0.9)
    assert model_utility({**measures, "world_facts_rouge": 0.0}) == 0


def test_utility_is_no_mean_over_what_happens_to_be_there() -> None:
    measures = dict.fromkeys(utility_parts(), 0.9)
    ratio = truth_ratio_of("retain")
    without = {name: value for name, value in measures.items() if name != ratio}
    for incomplete, why in ((without, "it was not measured"), ({**measures, ratio: Undefined("why")}, "why")):
        value = model_utility(incomplete)
        assert isinstance(value, Undefined)
        assert value.reason == f"retain_truth_ratio is not defined: {why}"
    assert isinstance(model_utility(measures, geometric=True), Undefined)
