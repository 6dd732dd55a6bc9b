"""Methods that carry a state or read losses, and NGDiff: against independent implementations."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from gradient_pairs import catalogue, flat, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from made_predictions import predictions_of

from hamu_ray.methods import METHODS, Context, equivalent_gradients, forget_objective

seeds = st.integers(0, 10_000)


@given(
    seed=seeds, scale=st.sampled_from([1e-10, 1.0, 1e10]), granularity=st.sampled_from(["tensor", "model"])
)
@settings(max_examples=20, deadline=None)
def test_ngdiff_is_the_difference_of_unit_vectors(seed, scale, granularity):
    r, f = normal(seed, scale), normal(seed + 1)
    gradients, _ = equivalent_gradients("ngdiff", r, f, lr=0.1, granularity=granularity)
    one, other = (flat(part).double().numpy() for part in (r, f))
    expected = one / np.linalg.norm(one) - other / np.linalg.norm(other)
    np.testing.assert_allclose(flat(gradients).double().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_ngdiff_leaves_a_zero_gradient_out():
    r, f = catalogue()["zero_retain"]
    gradients, _ = equivalent_gradients("ngdiff", r, f, lr=0.1)
    torch.testing.assert_close(flat(gradients), -flat(f) / flat(f).norm())


def quadratic(parameters: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A retain loss and a forget objective of three parameters."""
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    return (parameters - shift[0]).square().sum(), -(parameters + shift[1]).square().sum()


@pytest.mark.parametrize(
    ("eps", "step_size", "initial", "warmup"),
    [
        (0.0, 1.0, 1.0, 0.0),
        (0.5, 0.1, 1.0, 0.0),
        (1.0, 1.0, 1.0, 0.0),
        (1.5, 1.0, 50.0, 0.3),
        (0.3, 5.0, 100.0, 1.0),
    ],
)
def test_pdu_is_gradient_descent_on_the_lagrangian_with_dual_ascent(eps, step_size, initial, warmup):
    """Autograd through the Lagrangian, and a multiplier on the host, as in the published code."""
    method, lr = METHODS["pdu"], 0.01 / max(1.0, initial)
    record = method.hyperparameters(
        retain_loss_eps=eps, dual_step_size=step_size, initial_multiplier=initial, dual_warmup=warmup
    )
    mine = torch.zeros(3, dtype=torch.float64)
    theirs = torch.nn.Parameter(mine.clone())
    optimizer, multiplier = torch.optim.SGD([theirs], lr=lr), initial
    state = method.initial_state(record, mine.device)
    met = set()
    for step in range(50):
        leaf = mine.clone().requires_grad_()
        losses = torch.stack(quadratic(leaf, 1))
        both = torch.stack([torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in losses])
        context = Context(
            lr=lr, hyperparameters=record, losses=losses.detach(), state=state, step=step, steps=50
        )
        decision = method.weighting((both @ both.T)[None], context)
        mine = mine - lr * decision.weights[0] @ both
        state = {**state, **decision.state}

        optimizer.zero_grad()
        retain, forget = quadratic(theirs, 1)
        (multiplier * (retain - eps) - forget).backward()
        optimizer.step()
        if step >= warmup * 50:
            multiplier = max(0.0, multiplier + step_size * (retain.item() - eps))

        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)
        assert state["multiplier"].item() == pytest.approx(multiplier, rel=1e-12, abs=1e-12)
        met.add(multiplier == 0)
        assert (multiplier == initial) == (step < warmup * 50)
    assert met == ({True, False} if eps == 1.0 else {False}), "it is cut off at 0"


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_logit_margin_is_the_published_loss_negated(lengths, seed):
    predictions = predictions_of(lengths, seed)
    logits = predictions.logits.clone().requires_grad_()
    objective = forget_objective("logit_margin")
    actual = objective.loss(replace(predictions, logits=logits))
    (gradient,) = torch.autograd.grad(actual.sum(), logits)
    other = predictions.logits.clone().requires_grad_()
    published = (other.max(dim=-1)[0] - other.mean(dim=-1)) ** 2
    (expected,) = torch.autograd.grad(published.sum(), other)
    torch.testing.assert_close(actual, -published.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, -expected, rtol=1e-9, atol=1e-10)
    assert objective.unit == "item"
    assert pickle.loads(pickle.dumps(objective)) == objective


@pytest.mark.parametrize("name", METHODS)
def test_a_method_changes_only_the_state_that_it_declares(name):
    method = METHODS[name]
    both = torch.stack([flat(normal(seed)).double() for seed in (1, 2)])
    context = Context(
        lr=0.1,
        hyperparameters=(record := method.hyperparameters()),
        losses=torch.tensor([2.0, 3.0]),
        state=method.initial_state(record, both.device),
    )
    decision = method.weighting((both @ both.T)[None], context)
    assert decision.state.keys() <= record.initial_state.keys()
    for value in decision.state.values():
        assert (value.ndim, value.dtype) == (0, torch.float64)
