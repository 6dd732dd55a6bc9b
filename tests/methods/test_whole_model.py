"""The exact split against the whole model's problem: its dual in extended precision, and two solvers."""

import math
from dataclasses import dataclass

import cvxpy
import numpy as np
import pytest
import torch
from gradient_pairs import catalogue, flat
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from hamu_ray.methods import Branch, StepSettings, equivalent_gradients
from hamu_ray.methods.hamu import quality_weighting, utility_weighting

FIXED_SPLITS = ["uniform", "grad_norm", "softmax_dot"]

cosines = st.one_of(
    st.sampled_from([-1.0, -0.9999999, 0.0, 0.9999999, 0.99]),
    st.floats(-1.0, 0.9999999, allow_subnormal=False),
)
scales = st.floats(-15.0, 15.0).map(lambda exponent: 10.0**exponent)
kinds = st.sampled_from(["both"] * 8 + ["no_retain", "no_forget", "neither"])


@dataclass
class Problem:
    """Blocks of two gradients each, by their norms and cosines; the radius of a block is its retain norm."""

    retain: np.ndarray
    forget: np.ndarray
    cosine: np.ndarray

    @property
    def gram(self) -> Tensor:
        both = self.cosine * self.retain * self.forget
        entries = np.stack((self.retain**2, both, both, self.forget**2), axis=-1)
        return torch.from_numpy(entries.reshape(-1, 2, 2))


@st.composite
def problems(draw, sizes=scales):
    blocks = draw(st.integers(1, 30))
    like_lora = draw(st.booleans())  # one factor of each pair has no gradient at the start
    common = draw(st.tuples(sizes, sizes))
    spread = st.floats(-2.0, 2.0).map(lambda exponent: 10.0**exponent)
    wild = draw(st.booleans())
    rows = []
    for block in range(blocks):
        kind = "neither" if like_lora and block % 2 else draw(kinds)
        r, f = draw(st.tuples(sizes, sizes)) if wild else (c * draw(spread) for c in common)
        r, f = (
            (0.0 if kind in ("no_retain", "neither") else r),
            (0.0 if kind in ("no_forget", "neither") else f),
        )
        rows.append((r, f, draw(cosines) if r and f else 0.0))
    return Problem(*np.array(rows, dtype=np.float64).T)


class Step:
    """What weights do, in extended precision: each block's gain, cost and length, at learning rate 1."""

    def __init__(self, weights: Tensor, gram: Tensor) -> None:
        a, b = weights.numpy().astype(np.longdouble).T
        rr, rf, ff = extended(gram)
        self.cost = -(a * rr + b * rf)
        self.gain = -(a * rf + b * ff)
        self.length = np.sqrt(abs(a * a * rr + 2 * a * b * rf + b * b * ff))


def extended(gram: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    entries = gram.numpy().astype(np.longdouble)
    return entries[:, 0, 0], entries[:, 0, 1], entries[:, 1, 1]


def least_cost(gram: Tensor, radius: np.ndarray, needed: float) -> tuple[np.longdouble, np.longdouble]:
    """The best value of the dual, ``max over mu >= 0 of mu B - sum of R |r - mu f|``, and its mu.

    No step costs less. mu is what a need that is larger by 1 would cost.
    """
    rr, rf, ff = extended(gram)

    def lengths(mu: np.longdouble) -> np.ndarray:
        return np.sqrt(abs(rr - 2 * mu * rf + mu * mu * ff))

    def gain(mu: np.longdouble) -> np.longdouble:
        length = lengths(mu)
        return (radius * np.divide(mu * ff - rf, length, where=length > 0, out=np.zeros_like(rr))).sum()

    low, high = np.longdouble(-150), np.longdouble(150)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if gain(np.exp(middle)) < needed else (low, middle)
    ends = (np.longdouble(0), np.exp(low), np.exp(high))
    return max((mu * needed - (radius * lengths(mu)).sum(), mu) for mu in ends)


def assert_best(problem: Problem, fraction: float, radius: float | None) -> None:
    gram = problem.gram
    options = StepSettings(constraint_split="exact", constraint_fraction=fraction, radius=radius)
    decision = quality_weighting(gram, 1.0, options)
    limits = decision.constraint
    radii, needed = limits.radius.numpy().astype(np.longdouble), limits.total.item()
    step = Step(decision.weights, gram)
    available, cost_scale = (radii * problem.forget).sum(), (radii * problem.retain).sum()
    assert needed == pytest.approx(float(fraction * available), rel=1e-12)
    assert step.gain.sum() >= needed * (1 - 1e-9) - 1e-12 * available
    assert (step.length <= radii * (1 + 1e-7)).all()
    assert limits.feasible.all()
    assert decision.within_guarantee
    assert abs(limits.gained.sum().item() - step.gain.sum()) <= 1e-9 * available
    best, price = least_cost(gram, radii, needed)
    rounding = 1e-15 * available  # of the need, which costs much where it is nearly all that there is
    assert step.cost.sum() <= best + 1e-8 * cost_scale + price * rounding


@given(problem=problems(), fraction=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0)))
@settings(max_examples=150, deadline=None)
def test_no_step_of_the_whole_model_costs_less(problem, fraction):
    assert_best(problem, fraction, None)


@given(problem=problems(st.sampled_from([1e-3, 1.0, 50.0])), fraction=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_nor_with_the_same_radius_everywhere(problem, fraction):
    assert_best(problem, fraction, 0.1)
