"""Relearning and quantisation by themselves."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hamu_ray.auditing.evidence import Evidence, losses_of
from hamu_ray.auditing.losses import example_losses
from hamu_ray.auditing.quantisation import quantised, rounded, weights_of
from hamu_ray.auditing.relearning import STEPS, area, forget_parts, relearn, steps_to
from hamu_ray.pairing.group import Alone


def test_losses_are_those_of_the_evaluation(known: Evidence) -> None:
    model = known.base(known.originals[0])
    expected = losses_of(known.task.evaluate(model, Alone())).forget
    found = example_losses(known.task, model, known.task.splits["forget"], 7)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@given(st.integers(2, 20000), st.integers(0, 9))
@settings(max_examples=20)
def test_the_attack_is_measured_on_what_it_does_not_learn(count: int, seed: int) -> None:
    parts = forget_parts(count, seed)
    learned, measured = set(parts.learned.tolist()), set(parts.measured.tolist())
    assert len(learned) == max(1, round(count / 10))
    assert len(measured) == min(count - len(learned), 1000)
    assert not learned & measured
    assert max(learned | measured) < count
    assert parts.measured.tolist() == sorted(measured)


def test_one_example_cannot_be_relearned() -> None:
    with pytest.raises(ValueError, match="at least 2 examples to forget, found 1"):
        forget_parts(1, 0)


def test_relearning_ends_when_enough_is_known(known: Evidence) -> None:
    reference = known.base(known.references[0])
    curve = relearn(known.run, known.task, reference, 0.5)
    assert curve[0] < 0.1
    assert curve[-1] >= 0.5 > curve[-2]
    assert len(curve) - 1 == steps_to(curve, 0.5)
    again = relearn(known.run, known.task, known.base(known.references[0]), 0.5)
    assert curve == again
    assert relearn(known.run, known.task, known.base(known.originals[0]), 0.4) == pytest.approx([1], abs=0.1)
    never = relearn(known.run, known.task, known.base(known.references[0]), math.inf)
    assert len(never) == STEPS + 1
    assert steps_to(never, math.inf) == STEPS + 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=STEPS + 1), st.floats(0.1, 0.9))
@settings(max_examples=30)
def test_area(curve: list[float], enough: float) -> None:
    padded = curve + [curve[-1]] * (STEPS + 1 - len(curve))
    expected = sum(min(value / enough, 1) for value in padded) / (STEPS + 1)
    assert area(curve, enough) == pytest.approx(expected)
    assert area([enough, 0], enough) >= 1 / (STEPS + 1)


@given(st.integers(0, 99), st.sampled_from([8, 4]), st.integers(0, 1))
@settings(max_examples=20)
def test_rounding(seed: int, bits: int, channel: int) -> None:
    """Each channel has at most 2^bits - 1 values, the nearest ones, of which its largest weight is one."""
    weight = torch.randn(5, 60, generator=torch.Generator().manual_seed(seed))
    found = rounded(weight if channel == 0 else weight.T, bits, channel)
    found = found if channel == 0 else found.T
    for row, exact in zip(found, weight, strict=True):
        step = exact.abs().max() / (2 ** (bits - 1) - 1)
        assert len(row.unique()) <= 2**bits - 1
        assert (row - exact).abs().max() <= step / 2 * 1.0001
        assert row.abs().max().item() == pytest.approx(exact.abs().max().item(), rel=1e-6)
    assert not rounded(torch.zeros(2, 3), bits).any()


def test_a_model_is_as_before_afterwards() -> None:
    shared = nn.Linear(6, 6)
    model = nn.Sequential(nn.Conv2d(3, 6, 2), nn.BatchNorm2d(6), shared, shared)
    assert len(weights_of(model)) == 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with quantised(model, 4):
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "2.weight", "3.weight"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
