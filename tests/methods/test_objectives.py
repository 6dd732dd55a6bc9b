"""Losses per item, and their inputs."""

import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made_predictions import predictions_of

from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, Predictions, forget_objective
from hamu_ray.methods.objectives import Objective, cross_entropy, kl_to_original, mixture

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
ORIGINAL = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([0, 2])
ITEMS = Predictions(LOGITS, LABELS, examples=torch.arange(2), count=2)
BOTH = replace(ITEMS, teachers={"original": ORIGINAL, "random": ORIGINAL.flip(0)}, seeds=torch.tensor([5, 6]))

OF_METHODS = [each for method in METHODS.values() for each in (method.retain, method.forget) if each]
OBJECTIVES = list(dict.fromkeys([*OF_METHODS, *map(forget_objective, FORGET_OBJECTIVES)]))

lengths = st.lists(st.integers(0, 4), max_size=6)


@given(lengths=lengths)
def test_values_are_summed_over_each_examples_items(lengths):
    predictions = predictions_of(lengths)
    values = predictions.label_log_probabilities.requires_grad_()
    sums = predictions.sum_per_example(values)
    assert predictions.lengths.tolist() == lengths
    expected = [part.sum() for part in values.split(lengths)] if lengths else []
    torch.testing.assert_close(sums, torch.stack(expected) if expected else sums.new_empty(0))
    weights = torch.arange(1.0, len(lengths) + 1, dtype=torch.float64)
    sums.backward(weights)
    assert torch.equal(values.grad, weights[predictions.examples])


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    expected = -torch.log_softmax(LOGITS, -1)[torch.arange(2), LABELS]
    torch.testing.assert_close(cross_entropy.loss(ITEMS), expected)
    assert not cross_entropy.needs
    assert cross_entropy.unit == "item"


def test_kl_is_from_the_original_to_the_model():
    p, q = ORIGINAL.softmax(-1), LOGITS.softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1)
    actual = kl_to_original.loss(BOTH)
    torch.testing.assert_close(actual, expected)
    assert actual[0] > 0
    assert actual[1].abs() < 1e-7
    assert kl_to_original.needs == {"original"}


def test_kl_sends_no_gradient_to_the_original():
    logits, original = LOGITS.clone().requires_grad_(), ORIGINAL.clone().requires_grad_()
    kl_to_original.loss(replace(ITEMS, logits=logits, teachers={"original": original})).sum().backward()
    assert original.grad is None
    torch.testing.assert_close(logits.grad, LOGITS.softmax(-1) - ORIGINAL.softmax(-1))


def test_scrub_retains_by_both():
    retain = METHODS["scrub"].retain
    assert retain is not None
    assert retain.needs == {"original"}
    expected = 0.001 * kl_to_original.loss(BOTH) + 0.99 * cross_entropy.loss(ITEMS)
    torch.testing.assert_close(retain.loss(BOTH), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_losses_are_precise_and_finite_with_a_value_per_unit(objective, dtype):
    logits, original = (1e4 * LOGITS).to(dtype), (-1e4 * ORIGINAL).to(dtype)
    teachers = {"original": original, "random": original.flip(0), "perturbed": original.roll(1, 0)}
    together = Predictions(
        logits, LABELS, torch.zeros(2, dtype=torch.int64), 1, teachers, seeds=torch.tensor([5])
    )
    # No items, no loss: a worker's part of a batch can be empty.
    nobody = {name: values[:0] for name, values in teachers.items()}
    none = Predictions(logits[:0], LABELS[:0], torch.arange(0), 0, nobody, seeds=torch.arange(0))
    together, none = (replace(one, second=replace(one, logits=-one.logits)) for one in (together, none))
    loss = objective.loss(together)
    assert loss.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert loss.shape == (2 if objective.unit == "item" else 1,)
    assert loss.isfinite().all()
    assert objective.loss(none).shape == (0,)


def test_bfloat16_logits_lose_nothing_further():
    logits = LOGITS.bfloat16()
    expected = F.cross_entropy(logits.float(), LABELS, reduction="none")
    assert torch.equal(cross_entropy.loss(replace(ITEMS, logits=logits)), expected)


def test_missing_original_is_named():
    with pytest.raises(ValueError, match="needs teachers"):
        kl_to_original.loss(ITEMS)


def test_mixture():
    mixed = mixture("half", (0.5, cross_entropy))
    assert not mixed.needs
    assert mixed.unit == "item"
    assert torch.equal(mixed.loss(ITEMS), 0.5 * cross_entropy.loss(ITEMS))
    assert pickle.loads(pickle.dumps(mixed)) == mixed
    with pytest.raises(ValueError, match="'none' must contain at least one"):
        mixture("none")
    per_example = Objective("other", cross_entropy.loss, unit="example")
    assert mixture("examples", (0.5, per_example)).unit == "example"
    with pytest.raises(ValueError, match="'two' must have the same unit, found example and item"):
        mixture("two", (0.5, cross_entropy), (0.5, per_example))


def test_an_objective_that_needs_what_nobody_gives_is_refused():
    with pytest.raises(
        ValueError, match="objective 'x' needs orignal; an objective can need original, random, "
    ):
        Objective("x", cross_entropy.loss, needs=frozenset({"orignal"}))
