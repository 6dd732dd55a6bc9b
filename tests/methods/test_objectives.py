"""Losses per item."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from hamu_ray.methods import METHODS
from hamu_ray.methods.objectives import cross_entropy, kl_to_original, mixture

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
ORIGINAL = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([0, 2])


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    expected = -torch.log_softmax(LOGITS, -1)[torch.arange(2), LABELS]
    torch.testing.assert_close(cross_entropy.loss(LOGITS, LABELS, None), expected)
    assert not cross_entropy.needs_original


def test_kl_is_from_the_original_to_the_model():
    p, q = ORIGINAL.softmax(-1), LOGITS.softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1)
    actual = kl_to_original.loss(LOGITS, LABELS, ORIGINAL)
    torch.testing.assert_close(actual, expected)
    assert actual[0] > 0
    assert actual[1].abs() < 1e-7
    assert kl_to_original.needs_original


def test_kl_sends_no_gradient_to_the_original():
    logits, original = LOGITS.clone().requires_grad_(), ORIGINAL.clone().requires_grad_()
    kl_to_original.loss(logits, LABELS, original).sum().backward()
    assert original.grad is None
    torch.testing.assert_close(logits.grad, LOGITS.softmax(-1) - ORIGINAL.softmax(-1))


def test_scrub_retains_by_both():
    retain = METHODS["scrub"].retain
    assert retain is not None
    assert retain.needs_original
    expected = 0.001 * kl_to_original.loss(LOGITS, LABELS, ORIGINAL) + 0.99 * cross_entropy.loss(
        LOGITS, LABELS, None
    )
    torch.testing.assert_close(retain.loss(LOGITS, LABELS, ORIGINAL), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", METHODS)
def test_losses_are_float32_per_item_and_finite(name, dtype):
    logits, original = (1e4 * LOGITS).to(dtype), (-1e4 * ORIGINAL).to(dtype)
    for objective in (METHODS[name].retain, METHODS[name].forget):
        if objective is not None:
            loss = objective.loss(logits, LABELS, original)
            assert loss.dtype == torch.float32
            assert loss.shape == (2,)
            assert loss.isfinite().all()
            # No items, no loss: a worker's share of a batch can be empty.
            assert objective.loss(logits[:0], LABELS[:0], original[:0]).shape == (0,)


def test_bfloat16_logits_lose_nothing_further():
    logits = LOGITS.bfloat16()
    expected = F.cross_entropy(logits.float(), LABELS, reduction="none")
    assert torch.equal(cross_entropy.loss(logits, LABELS, None), expected)


def test_missing_original_is_named():
    with pytest.raises(ValueError, match="original_logits"):
        kl_to_original.loss(LOGITS, LABELS, None)


def test_mixture():
    mixed = mixture("half", (0.5, cross_entropy))
    assert not mixed.needs_original
    assert torch.equal(mixed.loss(LOGITS, LABELS, None), 0.5 * cross_entropy.loss(LOGITS, LABELS, None))
    assert pickle.loads(pickle.dumps(mixed)) == mixed
    with pytest.raises(ValueError, match="'none' must hold at least one"):
        mixture("none")
