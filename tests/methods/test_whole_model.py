"""The exact split against the whole model's problem: its dual in extended precision, and two solvers."""

from dataclasses import dataclass

import cvxpy
import numpy as np
import pytest
import torch
from gradient_pairs import catalogue, flat
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hamu_ray.methods import Branch, Context, equivalent_gradients
from hamu_ray.methods.catalogue.hamu.hyperparameters import HAMUHyperparameters
from hamu_ray.methods.catalogue.hamu.weighting import quality_weighting, utility_weighting

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
    """The effect of weights in extended precision: each block's gain, cost and length, at learning rate 1."""

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
    """The optimum of the dual, ``max over mu >= 0 of mu B - sum of R |r - mu f|``, and its mu.

    No step costs less. mu is the additional cost if the constraint increases by 1.
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


def own_price(weights: Tensor) -> np.longdouble:
    """The highest mu in a step, whose directions are mu f - r; it is steep where a block gains less than rounding."""
    a, b = abs(weights.numpy().astype(np.longdouble)).T
    return np.divide(b, a, where=a > 0, out=np.zeros_like(a)).max()


def assert_best(problem: Problem, fraction: float, radius: float | None) -> None:
    gram = problem.gram
    options = HAMUHyperparameters(
        constraint_split="exact", constraint_fraction=fraction, radius=radius or "lr"
    )
    decision = quality_weighting(gram, Context(lr=1.0, hyperparameters=options))
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
    rounding = 1e-15 * available  # of the constraint, which is expensive close to the available change
    price = max(price, own_price(decision.weights))
    assert step.cost.sum() <= best + 1e-8 * cost_scale + price * rounding


@given(problem=problems(), fraction=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0)))
@settings(max_examples=150, deadline=None)
def test_no_step_of_the_whole_model_costs_less(problem, fraction):
    assert_best(problem, fraction, None)


@given(problem=problems(st.sampled_from([1e-3, 1.0, 50.0])), fraction=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_nor_with_the_same_radius_everywhere(problem, fraction):
    assert_best(problem, fraction, 0.1)


@given(problem=problems(st.sampled_from([1e-2, 1.0, 30.0])), fraction=st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_no_fixed_split_that_is_feasible_costs_less(problem, fraction):
    gram = problem.gram
    cost_scale = (problem.retain**2).sum()

    def cost(split: str) -> tuple[float, bool]:
        decision = quality_weighting(
            gram,
            Context(
                lr=1.0,
                hyperparameters=HAMUHyperparameters(constraint_split=split, constraint_fraction=fraction),
            ),
        )
        return float(Step(decision.weights, gram).cost.sum()), bool(decision.constraint.feasible.all())

    exact, _ = cost("exact")
    for split in FIXED_SPLITS:
        fixed, feasible = cost(split)
        assert not feasible or exact <= fixed + 1e-8 * cost_scale, split


@given(problem=problems(st.sampled_from([1e-2, 1.0, 30.0])))
@settings(max_examples=100, deadline=None)
def test_hardness_is_what_is_not_free(problem):
    """H from its dual, ``min over lambda >= 0 of sum of R |f - lambda r|``, on a grid refined around its optimum."""
    gram = problem.gram
    decision = quality_weighting(
        gram,
        Context(
            lr=1.0, hyperparameters=HAMUHyperparameters(constraint_split="uniform", constraint_ratio=0.1)
        ),
    )
    radius = problem.retain.astype(np.longdouble)
    rr, rf, ff = extended(gram)

    def free(scale: np.ndarray) -> np.ndarray:
        lengths = np.sqrt(abs(ff - 2 * scale[:, None] * rf + scale[:, None] ** 2 * rr))
        return (radius * lengths).sum(1)

    low, high = 1e-30, 1e30
    for _ in range(12):
        grid = np.geomspace(low, high, 400, dtype=np.longdouble)
        best = int(free(grid).argmin())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 399)]
    expected = min(free(grid).min(), free(np.zeros(1)).min())
    available = (radius * problem.forget).sum()
    assert abs(decision.constraint.free.item() - expected) <= 1e-7 * available
    hardness = decision.totals()["hardness"].item()
    assert hardness == pytest.approx(float(1 - expected / available) if available else 1.0, abs=1e-7)
    # Above it in B, no step can serve both; below it, the guaranteed change costs nothing.
    for part, met in ((1.01, True), (0.99, False)):
        wanted = HAMUHyperparameters(constraint_split="exact", constraint=float(part * expected))
        step = quality_weighting(gram, Context(lr=1.0, hyperparameters=wanted))
        if expected > 1e-6 * available:
            assert step.exact_criterion_met == met
            if not met:
                assert Step(step.weights, gram).cost.sum() <= 1e-7 * (radius * problem.retain).sum()


@given(
    seed=st.integers(0, 10_000),
    fraction=st.floats(0.0, 0.98),
    size=st.integers(1, 4),
    blocks=st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_no_solver_finds_a_cheaper_step(seed, fraction, size, blocks):
    """In the space of the steps themselves, with radii independent of the gradients."""
    random = np.random.default_rng(seed)
    r, other = random.normal(size=(2, blocks, size)) * 10 ** random.uniform(-1, 1, size=(2, blocks, 1))
    f = random.uniform(-1, 1) * r + other
    radius = 0.5
    gradients, decision = equivalent_gradients(
        "hamu-q",
        list(torch.from_numpy(r)),
        list(torch.from_numpy(f)),
        lr=1.0,
        radius=radius,
        constraint_split="exact",
        constraint_fraction=fraction,
    )
    step = -np.stack([gradient.numpy() for gradient in gradients])
    needed = decision.constraint.total.item()
    cost_scale = radius * np.linalg.norm(r, axis=1).sum()
    assert (f * step).sum() >= needed * (1 - 1e-9) - 1e-12 * decision.constraint.available.sum().item()
    assert np.linalg.norm(step, axis=1).max() <= radius * (1 + 1e-7)
    d = cvxpy.Variable((blocks, size))
    limits = [cvxpy.norm(d[i]) <= radius for i in range(blocks)]
    conic = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum(cvxpy.multiply(r, d))), [cvxpy.sum(cvxpy.multiply(f, d)) >= needed, *limits]
    )
    conic.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assume(conic.status == "optimal")
    assert (r * step).sum() <= conic.value + 1e-8 * cost_scale
    assert (r * step).sum() == pytest.approx(conic.value, abs=1e-6 * cost_scale)
    general = minimize(
        lambda x: r.ravel() @ x,
        step.ravel(),
        jac=lambda x: r.ravel(),
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda x: f.ravel() @ x - needed, "jac": lambda x: f.ravel()},
            {"type": "ineq", "fun": lambda x: radius**2 - np.square(x.reshape(blocks, size)).sum(1)},
        ],
        options={"ftol": 1e-12, "maxiter": 100},
    )
    if general.success:
        assert (r * step).sum() <= general.fun + 1e-6 * cost_scale


@given(problem=problems(st.sampled_from([1e-2, 1.0, 30.0])), fraction=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_u_is_q_with_roles_swapped(problem, fraction):
    options = HAMUHyperparameters(constraint_split="exact", constraint_fraction=fraction)
    gram = problem.gram
    u = utility_weighting(gram, Context(lr=1e-2, hyperparameters=options))
    q = quality_weighting(gram.flip(-2, -1), Context(lr=1e-2, hyperparameters=options))
    assert torch.equal(u.weights, -q.weights.flip(-1))
    assert (u.constraint.guaranteed, q.constraint.guaranteed) == ("retain", "forget")
    assert u.totals()["hardness"] == q.totals()["hardness"]


@pytest.mark.parametrize("granularity", ["tensor", "model"])
@pytest.mark.parametrize("pair", catalogue().values(), ids=catalogue())
@pytest.mark.parametrize("method", ["hamu-q", "hamu-u"])
def test_a_fraction_is_never_infeasible(method, pair, granularity):
    for fraction in (0.0, 0.3, 1.0):
        gradients, decision = equivalent_gradients(
            method,
            *pair,
            lr=1e-3,
            constraint_split="exact",
            constraint_fraction=fraction,
            granularity=granularity,
        )
        assert decision.infeasible_blocks == 0
        assert decision.within_guarantee
        assert not set(decision.branch.tolist()) & {Branch.INFEASIBLE, Branch.SKIPPED, Branch.BEST_EFFORT}
        assert flat(gradients).isfinite().all()


def test_one_block_is_the_whole_model():
    r, f = catalogue()["random"]
    options = dict(lr=1e-3, constraint_fraction=0.4, granularity="model")
    exact, _ = equivalent_gradients("hamu-q", r, f, constraint_split="exact", **options)
    fixed, _ = equivalent_gradients("hamu-q", r, f, constraint_split="grad_norm", **options)
    torch.testing.assert_close(exact, fixed)


def test_the_exact_split_takes_fewer_operations_than_two_hundred():
    """Each is a kernel launch on a GPU, and these are all launches of the decision."""
    counted = 0

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal counted
            counted += 1
            return function(*args, **(kwargs or {}))

    vectors = torch.randn(59, 2, 7, dtype=torch.float64)
    gram = vectors @ vectors.transpose(-1, -2)
    options = HAMUHyperparameters(constraint_split="exact", constraint_fraction=0.3)
    quality_weighting(
        gram, Context(lr=1e-3, hyperparameters=options)
    )  # copies its constants to the device once
    with Counter():
        quality_weighting(gram, Context(lr=1e-3, hyperparameters=options))
    assert counted <= 170
