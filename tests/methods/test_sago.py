"""SAGO, the only weighting that treats the elements of a block differently, against its definition in numpy."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from gradient_pairs import SHAPES, catalogue, flat, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.methods import Blocks, Decision, combine, equivalent_gradients, gram_matrix, promised_changes

FLOAT = torch.float64


def theirs(r: np.ndarray, f: np.ndarray, weight: float, aligned: str) -> np.ndarray:
    """One element after the other, with the forget task's descent gradient."""
    found = []
    for retain, forget in zip(r, -f, strict=True):
        if np.sign(retain) * np.sign(forget) < 0:
            found.append(weight * retain)
        else:
            found.append((1 - weight) * forget + (weight * retain if aligned == "sum" else 0.0))
    return np.array(found)


@pytest.mark.parametrize("aligned", ["forget", "sum"])
@given(seed=st.integers(0, 10_000), weight=st.floats(0, 1), clip_norm=st.none() | st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_elements_are_chosen_by_their_signs(aligned, seed, weight, clip_norm):
    r, f = ([part.double() for part in normal(one)] for one in (seed, seed + 1))
    f[0][0] = 0.0
    r[0][1] = 0.0
    options = {"retain_weight": weight, "aligned": aligned, "clip_norm": clip_norm}
    found, _ = equivalent_gradients("sago", r, f, lr=0.1, **options)
    scales = [min(1, (clip_norm or np.inf) / (float(flat(one).norm()) + 1e-6)) for one in (r, f)]
    both = (scale * flat(one).numpy() for scale, one in zip(scales, (r, f), strict=True))
    np.testing.assert_allclose(flat(found).numpy(), theirs(*both, weight, aligned), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("pair", catalogue().values(), ids=catalogue())
def test_no_element_opposes_retaining(pair):
    found, _ = equivalent_gradients("sago", *pair, lr=1e-3)
    assert (flat(found).sign() * flat(pair[0]).sign() >= 0).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_predicted_changes_are_those_of_the_step(seed):
    """The Gram matrices of the conflicting elements and the rest know what the step does to both losses."""
    r, f = (flat(normal(one)).double() for one in (seed, seed + 1))
    blocks = Blocks.from_shapes(SHAPES, "tensor")
    generator = torch.Generator().manual_seed(seed)
    weights, others = torch.randn(2, blocks.count, 2, dtype=FLOAT, generator=generator)
    step = combine(weights, r, f, blocks, conflict_weights=others)
    gram, conflicting = (gram_matrix(r, f, blocks, conflicting=each) for each in (False, True))
    found = promised_changes(gram, weights, 0.1, conflict_weights=others, conflicting=conflicting)
    torch.testing.assert_close(found, -0.1 * torch.stack((r @ step, f @ step)))


def test_signs_decide_where_products_underflow():
    r = torch.tensor([1e-30, 1e-30, 0.0])
    f = torch.tensor([1e-30, -1e-30, 1e-30])
    found, _ = equivalent_gradients("sago", [r], [f], lr=0.1)
    torch.testing.assert_close(found[0], torch.tensor([5e-31, 5e-31, -5e-31]), rtol=1e-5, atol=0)


def test_segments_of_workers_give_the_numbers_of_the_whole():
    r, f = flat(normal(1)), flat(normal(2))
    blocks = Blocks.from_shapes(SHAPES, "tensor")
    weights, others = torch.randn(2, blocks.count, 2, dtype=FLOAT, generator=torch.Generator().manual_seed(0))
    whole = combine(weights, r, f, blocks, conflict_weights=others)
    parts = []
    gram = torch.zeros(blocks.count, 2, 2, dtype=FLOAT)
    for start, stop in ((0, 7), (7, 20), (20, blocks.total)):
        part = blocks.segment(start, stop)
        parts.append(combine(weights, r[start:stop], f[start:stop], part, conflict_weights=others))
        gram += gram_matrix(r[start:stop], f[start:stop], part, conflicting=True)
    assert torch.equal(torch.cat(parts), whole)
    torch.testing.assert_close(gram, gram_matrix(r, f, blocks, conflicting=True))


def test_optional_parts_of_a_decision_come_last():
    """Weightings of other packages may give them by position."""
    names = [each.name for each in fields(Decision)]
    assert names[:4] == ["weights", "gram", "branch", "constraint"]
    assert names[-1] == "conflict_weights"
