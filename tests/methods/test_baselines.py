"""The methods other than HAMU."""

import pytest
import torch
from gradient_pairs import catalogue, flat, normal, scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.methods import METHODS, Branch, Context, equivalent_gradients

seeds = st.integers(0, 10_000)
granularities = st.sampled_from(["tensor", "model"])

WEIGHTS = {
    "ft": (1.0, 0.0),
    "ga": (0.0, -1.0),
    "gdiff": (0.5, -0.5),
    "kl": (0.5, -0.5),
    "scrub": (0.5, -0.5),
    "npo": (0.5, -0.5),
    "simnpo": (0.5, -0.5),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_fixed_weights(name):
    r, f = normal(1), normal(2)
    gradients, decision = equivalent_gradients(name, r, f, lr=0.1)
    a, b = WEIGHTS[name]
    torch.testing.assert_close(gradients, [a * x + b * y for x, y in zip(r, f, strict=True)])
    assert set(decision.branch.tolist()) == {Branch.FIXED}


def update_of(name, r, f, weight):
    """The equivalent gradient ``(weights,)`` of one block of gradients, with a weight of the retain objective."""
    both = torch.stack((r, f))
    record = METHODS[name].hyperparameters.of({"retain_weight": weight})
    decision = METHODS[name].weighting((both @ both.T)[None], Context(lr=0.1, hyperparameters=record))
    return decision.weights[0] @ both


@pytest.mark.parametrize("name", ["gdiff", "kl", "scrub", "npo", "simnpo"])
@given(seed=seeds, weight=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_the_retain_objective_is_weighed(name, seed, weight):
    r, f = flat(normal(seed)).double(), flat(normal(seed + 1)).double()
    torch.testing.assert_close(update_of(name, r, f, weight), weight * r - (1 - weight) * f)


def test_scrub_alternates_between_its_objectives_and_ends_with_retaining():
    record = METHODS["scrub"].hyperparameters(phase_steps=2, forget_until=0.6)
    gram = torch.eye(2, dtype=torch.float64)[None]

    def weights_at(step):
        context = Context(lr=0.1, hyperparameters=record, step=step, steps=10)
        return METHODS["scrub"].weighting(gram, context).weights[0].tolist()

    forget, retain = [0.0, -1.0], [1.0, 0.0]
    assert [weights_at(step) for step in range(10)] == [forget, forget, retain, retain] + [forget, forget] + [
        retain
    ] * 4


@given(seed=seeds, weight=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_pcgrad_weighs_the_projected_gradients(seed, weight):
    """Each task's gradient without its component along the other's, by definition, if they conflict."""
    r, f = flat(normal(seed)).double(), flat(normal(seed + 1)).double()
    conflict = r @ f > 0
    retain = r - (r @ f) / (f @ f) * f if conflict else r
    forget = -f + (r @ f) / (r @ r) * r if conflict else -f
    torch.testing.assert_close(update_of("pcgrad", r, f, weight), weight * retain + (1 - weight) * forget)


def test_numbers_by_hand():
    """Conflict: ascending f = (1, 1) raises the loss of r = (2, 0), as r.f = 2."""
    r, f = [torch.tensor([2.0, 0.0])], [torch.tensor([1.0, 1.0])]
    gru, decision = equivalent_gradients("gru", r, f, lr=0.1)
    assert gru[0].tolist() == [0.0, -1.0]
    assert decision.branch.tolist() == [Branch.RECTIFIED]
    pcgrad, decision = equivalent_gradients("pcgrad", r, f, lr=0.1)
    assert pcgrad[0].tolist() == [0.5, -1.0]
    assert decision.branch.tolist() == [Branch.RECTIFIED]
    opposed = scaled(f, -1.0)
    gru, decision = equivalent_gradients("gru", r, opposed, lr=0.1)
    assert gru[0].tolist() == [1.0, 1.0]
    assert decision.branch.tolist() == [Branch.DIRECT]
    pcgrad, _ = equivalent_gradients("pcgrad", r, opposed, lr=0.1)
    assert pcgrad[0].tolist() == [1.5, 0.5]


@given(seed=seeds, granularity=granularities)
@settings(max_examples=40, deadline=None)
def test_gru_never_raises_the_retain_loss(seed, granularity):
    r, f = normal(seed), normal(seed + 1)
    gradients, _ = equivalent_gradients("gru", r, f, lr=0.1, granularity=granularity)
    parts = zip(gradients, r, f, strict=True)
    blocks = parts if granularity == "tensor" else [(flat(gradients), flat(r), flat(f))]
    for gradient, retain, forget in blocks:
        conflict = (retain * forget).sum() > 0
        change = -(gradient * retain).sum()
        assert change <= 1e-5 * retain.norm() * forget.norm()
        # It still ascends the forget loss, and equals plain ascent without conflict.
        assert (gradient * forget).sum() <= 1e-5 * forget.norm() ** 2
        if not conflict:
            torch.testing.assert_close(gradient, -forget)


@pytest.mark.parametrize("seed", range(20))
def test_pcgrad_is_that_of_torchjd(seed):
    aggregation = pytest.importorskip("torchjd.aggregation")
    r, f = flat(normal(seed)).double(), flat(normal(seed + 100)).double()
    tasks = torch.stack((r, -f))
    # TorchJD sums the projected gradients; the mean of two is half of that.
    expected = 0.5 * aggregation.PCGradWeighting()(tasks @ tasks.T) @ tasks
    (actual,), _ = equivalent_gradients("pcgrad", [r], [f], lr=0.1)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["gru", "pcgrad"])
def test_parallel_gradients_leave_nothing_to_do(name):
    r, f = catalogue()["parallel"]
    gradients, _ = equivalent_gradients(name, r, f, lr=0.1, granularity="model")
    assert flat(gradients).norm() < 1e-6 * flat(f).norm()
