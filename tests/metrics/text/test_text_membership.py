import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.metrics.membership import auc_loss
from hamu_ray.metrics.text.membership import (
    DEVIATION_FLOOR,
    mean_mink,
    mink_losses,
    minkpp_losses,
    zlib_losses,
)
from hamu_ray.metrics.text.memorization import item_losses
from hamu_ray.metrics.text.tokens import TokenScores, score_tokens
from hamu_ray.metrics.undefined import Undefined
from tests.metrics.ragged import NO_SCORES, each_item, made_up_scores, ragged_scores, with_broken_token


def mean_of_lowest(values: list[float], percent: int) -> float:
    count = max(1, len(values) * percent // 100)
    return math.fsum(sorted(values)[:count]) / count


@given(ragged_scores, st.integers(1, 100))
def test_mink_is_the_mean_of_the_least_likely_tokens(scores: TokenScores, percent: int) -> None:
    expected = [-mean_of_lowest(item, percent) for item in each_item(scores, scores.log_probs)]
    assert mink_losses(scores, percent).tolist() == pytest.approx(expected)
    assert mean_mink(scores, percent) == pytest.approx(-math.fsum(expected) / len(expected))


@given(ragged_scores, st.integers(1, 100))
def test_minkpp_standardises_every_token_first(scores: TokenScores, percent: int) -> None:
    deviations = np.maximum(scores.deviations, DEVIATION_FLOOR)
    items = each_item(scores, (scores.log_probs - scores.means) / deviations)
    expected = [-mean_of_lowest(item, percent) for item in items]
    assert minkpp_losses(scores, percent).tolist() == pytest.approx(expected)


def test_minkpp_from_logits_as_the_paper_writes_it() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(40, 30, generator=generator, dtype=torch.float64)
    labels = torch.randint(30, (40,), generator=generator)
    probabilities, logs = logits.softmax(-1), logits.log_softmax(-1)
    mean = (probabilities * logs).sum(-1)
    deviation = ((probabilities * logs.square()).sum(-1) - mean.square()).sqrt()
    tokens = (logs.gather(-1, labels[:, None])[:, 0] - mean) / deviation
    expected = [
        -tokens[part].sort().values[:count].mean() for part, count in ((slice(25), 2), (slice(25, 40), 1))
    ]
    scores = TokenScores.from_rows(score_tokens(logits, labels).numpy(), np.array([25, 15]))
    assert minkpp_losses(scores, 10).tolist() == pytest.approx([value.item() for value in expected])


def test_a_sure_and_right_model_gives_a_finite_minkpp() -> None:
    logits = torch.tensor([[300.0, 0.0], [0.0, 300.0]])
    right, wrong = (
        TokenScores.from_rows(score_tokens(logits, labels).numpy(), np.array([2]))
        for labels in (torch.tensor([0, 1]), torch.tensor([1, 0]))
    )
    assert minkpp_losses(right, 10).tolist() == [0]
    assert minkpp_losses(wrong, 10)[0] > 1e5
    assert np.isfinite(minkpp_losses(wrong, 10)).all()


def test_all_tokens_give_the_loss() -> None:
    scores = made_up_scores([3, 8, 1], seed=2)
    np.testing.assert_allclose(mink_losses(scores, 100), item_losses(scores))


@pytest.mark.parametrize("percent", [0, 101])
def test_percent_is_checked(percent: int) -> None:
    with pytest.raises(ValueError, match="is not in 1"):
        mink_losses(made_up_scores([2], seed=0), percent)


def test_zlib_is_the_loss_by_the_compressed_length() -> None:
    texts = ["word " * 40, "naïve ☃"]
    scores = made_up_scores([5, 3], seed=1)
    lengths = [len(zlib.compress(text.encode("utf-8"))) for text in texts]
    expected = [loss / length for loss, length in zip(item_losses(scores), lengths, strict=True)]
    assert zlib_losses(scores, texts).tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="1 texts for 2 items"):
        zlib_losses(scores, texts[:1])


def test_a_broken_token_is_not_ranked_away() -> None:
    broken = with_broken_token(made_up_scores([20, 20], seed=4), 7)
    for losses in (mink_losses(broken, 10), minkpp_losses(broken, 10)):
        assert np.isfinite(losses).tolist() == [False, True]
        assert isinstance(auc_loss(losses, losses), Undefined)
    assert isinstance(mean_mink(broken, 10), Undefined)


def test_no_items_have_no_losses() -> None:
    assert len(mink_losses(NO_SCORES, 10)) == len(minkpp_losses(NO_SCORES, 10)) == 0
    assert isinstance(mean_mink(NO_SCORES, 10), Undefined)


def test_attacks_find_the_text_that_a_model_learned() -> None:
    known, new = made_up_scores([30] * 20, seed=5), made_up_scores([30] * 20, seed=6)
    learned = TokenScores(known.log_probs * 0.3, known.correct, known.means, known.deviations, known.lengths)
    for losses in (item_losses, lambda scores: mink_losses(scores, 10)):
        assert auc_loss(losses(learned), losses(new)) > 0.95
