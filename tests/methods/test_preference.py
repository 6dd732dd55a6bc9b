"""NPO and SimNPO: the papers' formulas, their limits, and the direction of their gradients."""

import math
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_predictions import predictions_of
from torch import Tensor

from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, Objective, Predictions, forget_objective
from hamu_ray.methods.catalogue.preference import NPOHyperparameters, SimNPOHyperparameters
from hamu_ray.methods.objectives import cross_entropy


def npo(beta: float = 0.1) -> Objective:
    return forget_objective("npo", beta=beta)


def simnpo(beta: float = 2.5, gamma: float = 0.0) -> Objective:
    return forget_objective("simnpo", beta=beta, gamma=gamma)


BOTH = [npo(), npo(2.0), simnpo(), simnpo(4.0, 0.5)]
some_lengths = st.lists(st.integers(0, 4), min_size=1, max_size=5)


def answers(original: bool = True) -> Predictions:
    """Answers "00" and "1" of a vocabulary of two, with known probabilities: p = 3/4 and 1/2, then 1/5."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [math.log(4), 0.0]], dtype=torch.float64)
    uniform = {"original": torch.zeros_like(logits)} if original else {}
    return Predictions(logits, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]), 2, uniform)


def gradient(objective: Objective, predictions: Predictions) -> Tensor:
    """The gradient of the sum with respect to the logits."""
    logits = predictions.logits.clone().requires_grad_()
    objective.loss(replace(predictions, logits=logits)).sum().backward()
    assert logits.grad is not None
    return logits.grad


def log_probabilities(predictions: Predictions) -> Tensor:
    """For each whole answer."""
    return predictions.sum_per_example(predictions.label_log_probabilities)


def test_npo_by_hand():
    """Ratios p(y|x) / p_original(y|x) of (3/4 1/2) / (1/2 1/2) = 3/2 and (1/5) / (1/2) = 2/5."""
    for beta in (1.0, 0.1, 3.0):
        # The paper's other form of its loss: (2 / beta) log(1 + ratio^beta).
        expected = [-2 / beta * math.log(1 + ratio**beta) for ratio in (3 / 2, 2 / 5)]
        assert npo(beta).loss(answers()).tolist() == pytest.approx(expected, rel=1e-12)


def test_simnpo_by_hand():
    """Mean log-probabilities of log(3/8) / 2 and log(1/5); the original is not used."""
    means = [math.log(3 / 8) / 2, math.log(1 / 5)]
    for beta, gamma in ((1.0, 0.0), (2.5, 0.0), (2.5, 1.0)):
        expected = [-2 / beta * math.log(1 + math.exp(beta * mean + gamma)) for mean in means]
        actual = simnpo(beta, gamma).loss(answers(original=False))
        assert actual.tolist() == pytest.approx(expected, rel=1e-12)


@given(lengths=some_lengths, seed=st.integers(0, 1000), beta=st.floats(0.05, 5.0), gamma=st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_example_by_example_in_a_loop(lengths, seed, beta, gamma):
    both = predictions_of(lengths, seed)
    npos, simnpos = npo(beta).loss(both), simnpo(beta, gamma).loss(both)
    for number in range(len(lengths)):
        mine = both.examples == number
        log_p, log_original = (
            float(logits[mine].log_softmax(-1).gather(1, both.labels[mine, None]).sum())
            for logits in (both.logits, both.teachers["original"])
        )
        expected = -2 / beta * math.log1p(math.exp(beta * (log_p - log_original)))
        assert npos[number].item() == pytest.approx(expected, rel=1e-9)
        mean = log_p / max(lengths[number], 1)
        expected = -2 / beta * math.log1p(math.exp(beta * mean + gamma))
        assert simnpos[number].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("objective", BOTH)
def test_autograd_agrees_with_finite_differences(objective):
    both = predictions_of([2, 0, 3], seed=3)
    logits = both.logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: objective.loss(replace(both, logits=x)), (logits,))


@pytest.mark.parametrize("objective", BOTH, ids=lambda objective: objective.name)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_raising_it_makes_every_answer_less_likely(objective, lengths, seed):
    both = predictions_of(lengths, seed)
    step = gradient(objective, both)
    raised = replace(both, logits=both.logits + 1e-4 * step)
    assert (objective.loss(raised) > objective.loss(both)).all()
    assert (log_probabilities(raised) < log_probabilities(both)).all()


@given(lengths=some_lengths, seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_npo_becomes_gradient_ascent(lengths, seed):
    """In the limit of beta to 0, and at the original model for every beta."""
    both = predictions_of(lengths, seed)
    ascent = gradient(cross_entropy, both)
    torch.testing.assert_close(gradient(npo(1e-7), both), ascent, rtol=1e-5, atol=1e-7)
    far = gradient(npo(0.5), both)
    assert not any(lengths) or not torch.allclose(far, ascent, rtol=1e-5, atol=1e-7)
    at_the_original = replace(both, teachers={"original": both.logits})
    for beta in (0.1, 5.0):
        torch.testing.assert_close(gradient(npo(beta), at_the_original), ascent)


def test_what_is_forgotten_is_left_alone():
    """Where ascent continues to push, both are saturated."""
    unlikely = replace(answers(), logits=torch.tensor([[-60.0, 0.0], [-60.0, 0.0], [60.0, 0.0]]).double())
    assert gradient(cross_entropy, unlikely).norm() > 1
    for objective in (npo(1.0), simnpo()):
        assert gradient(objective, unlikely).norm() < 1e-8


def test_the_margin_moves_where_simnpo_levels_off():
    likelihood = [gradient(simnpo(2.5, gamma), answers()).norm().item() for gamma in (0.0, 1.0, 2.0)]
    assert likelihood == sorted(likelihood)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("objective", BOTH, ids=lambda objective: objective.name)
def test_extreme_answers_have_finite_gradients(objective, dtype):
    for scale in (1e4, -1e4):
        both = answers()
        low = {"original": both.logits.to(dtype)}
        both = replace(both, logits=(scale * both.logits).to(dtype), teachers=low)
        assert objective.loss(both).isfinite().all()
        assert gradient(objective, both).isfinite().all()


def test_no_gradient_reaches_the_original():
    both = answers()
    original = both.teachers["original"].requires_grad_()
    logits = both.logits.requires_grad_()
    npo().loss(replace(both, logits=logits, teachers={"original": original})).sum().backward()
    assert original.grad is None
    with pytest.raises(ValueError, match=r"needs teachers\['original'\] .*found none"):
        npo().loss(answers(original=False))


def test_what_the_objectives_say_of_themselves():
    assert [o.needs for o in BOTH] == [{"original"}, {"original"}, set(), set()]
    assert {o.unit for o in BOTH} == {"example"}
    for objective in BOTH:
        assert pickle.loads(pickle.dumps(objective)) == objective
    with pytest.raises(ValueError, match="beta must be a finite number above 0, found 0"):
        NPOHyperparameters(beta=0.0)
    with pytest.raises(ValueError, match=r"gamma must be a finite number at least 0, found -1.0"):
        SimNPOHyperparameters(gamma=-1.0)


def test_forget_objectives_by_name():
    for name in FORGET_OBJECTIVES:
        assert forget_objective(name).name == name
    assert forget_objective("npo") == METHODS["npo"].forget == npo(0.1)
    assert forget_objective("simnpo") == METHODS["simnpo"].forget == simnpo(2.5, 0.0)
    assert forget_objective("npo", beta=0.5, gamma=9.0) == npo(0.5)
    assert forget_objective("simnpo", beta=0.5, gamma=1.0) == simnpo(0.5, 1.0)
    assert forget_objective("cross_entropy", beta=0.5) == cross_entropy
    with pytest.raises(ValueError, match=r"must be one of cross_entropy, logit_margin, npo, .*, found 'ipo'"):
        forget_objective("ipo")
