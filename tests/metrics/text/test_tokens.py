import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.metrics.text import tokens
from hamu_ray.metrics.text.tokens import TokenScores, score_tokens
from tests.metrics.ragged import NO_SCORES, each_item, ragged_scores


def brute_force(logits: list[float], label: int) -> list[float]:
    exponentials = [math.exp(value) for value in logits]
    probabilities = [value / sum(exponentials) for value in exponentials]
    logs = [math.log(p) for p in probabilities]
    mean = sum(p * log for p, log in zip(probabilities, logs, strict=True))
    variance = sum(p * (log - mean) ** 2 for p, log in zip(probabilities, logs, strict=True))
    return [logs[label], float(logits[label] == max(logits)), mean, math.sqrt(variance)]


@given(st.lists(st.floats(-15, 15, width=32), min_size=4, max_size=4, unique=True), st.integers(0, 3))
def test_scores_of_a_token_agree_with_the_textbook(logits: list[float], label: int) -> None:
    (row,) = score_tokens(torch.tensor([logits]), torch.tensor([label])).tolist()
    assert row == pytest.approx(brute_force(logits, label), rel=1e-4, abs=1e-3)
    exact = score_tokens(torch.tensor([logits], dtype=torch.float64), torch.tensor([label]))[0].tolist()
    assert exact == pytest.approx(brute_force(logits, label), rel=1e-9, abs=1e-6)


def test_pieces_give_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator)
    labels = torch.randint(11, (7,), generator=generator)
    whole = score_tokens(logits, labels)
    assert whole.shape == (7, 4)
    assert whole.dtype == torch.float64
    for chunk in (1, 11, 23, 40):
        monkeypatch.setattr(tokens, "CHUNK", chunk)
        torch.testing.assert_close(score_tokens(logits, labels), whole, rtol=1e-6, atol=1e-7)


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.bfloat16)
    log_prob, correct, *_ = score_tokens(logits, torch.tensor([0]))[0].tolist()
    assert log_prob == pytest.approx(-math.log(1 + 2 * math.exp(-8)), abs=1e-6)
    assert correct == 1


def test_logits_are_left_as_they_were() -> None:
    logits = torch.randn(3, 5, requires_grad=True)
    before = logits.detach().clone()
    assert not score_tokens(logits, torch.tensor([0, 1, 2])).requires_grad
    assert torch.equal(logits, before)


def test_a_sure_or_undecided_model_has_no_deviation() -> None:
    sure, undecided = [200.0, 0.0, 0.0, 0.0], [3.0] * 4
    rows = score_tokens(torch.tensor([sure, undecided]), torch.tensor([0, 1]))
    assert rows[0].tolist() == [0, 1, 0, 0]
    assert rows[1, [0, 2, 3]].tolist() == pytest.approx([-math.log(4), -math.log(4), 0], abs=1e-6)


def test_a_masked_out_token_adds_nothing() -> None:
    masked = torch.tensor([[1.0, 2.0, -math.inf]])
    torch.testing.assert_close(
        score_tokens(masked, torch.tensor([1])), score_tokens(masked[:, :2], torch.tensor([1]))
    )


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("label", [0, 1])
def test_broken_logits_give_no_finite_log_probability(broken: float, label: int) -> None:
    log_probs = score_tokens(torch.tensor([[1.0, broken]]), torch.tensor([label]))[:, 0]
    assert not log_probs.isfinite().any()


@given(ragged_scores)
def test_item_means_are_those_of_a_loop(scores: TokenScores) -> None:
    expected = [math.fsum(item) / len(item) for item in each_item(scores, scores.means)]
    assert scores.item_means(scores.means).tolist() == pytest.approx(expected)


def test_no_items_are_a_record_too() -> None:
    assert NO_SCORES.item_means(NO_SCORES.log_probs).tolist() == []
    assert score_tokens(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)).shape == (0, 4)


def test_rows_become_the_record() -> None:
    scores = TokenScores.from_rows(
        np.array([[-1.0, 1.0, -2.0, 0.5], [-3.0, 0.0, -4.0, 0.25]]), np.array([1, 1])
    )
    assert scores.log_probs.tolist() == [-1, -3]
    assert scores.correct.tolist() == [True, False]
    assert scores.means.tolist() == [-2, -4]
    assert scores.deviations.tolist() == [0.5, 0.25]
    assert scores.starts.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("lengths", "problem"),
    [([2, 2], "add up to 4, not to 3"), ([3, 0], "at least one answer token"), ([], "add up to 0")],
)
def test_lengths_have_to_fit(lengths: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TokenScores.from_rows(np.zeros((3, 4)), np.array(lengths, dtype=np.int64))
    with pytest.raises(ValueError, match="all four"):
        TokenScores(np.zeros(3), np.ones(2, dtype=bool), np.zeros(3), np.zeros(3), np.array([3]))
