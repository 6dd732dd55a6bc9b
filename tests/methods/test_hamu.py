"""HAMU against the optimisation problem that it solves."""

import math

import numpy as np
import pytest
import torch
from gradient_pairs import SHAPES, catalogue, flat, normal, scaled, zeros
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from hamu_ray.methods import Branch, Context, equivalent_gradients
from hamu_ray.methods.catalogue.hamu.hyperparameters import HAMUHyperparameters
from hamu_ray.methods.catalogue.hamu.shares import constraint_shares
from hamu_ray.methods.catalogue.hamu.weighting import quality_weighting, utility_weighting
from hamu_ray.methods.gram import Blocks, gram_matrix

HAMU = ["hamu-q", "hamu-u"]
FIXED = {"constraint_split": "grad_norm", "infeasible": "least_step"}
"""Every block on its own, and the shortest step where a block's constraint is out of reach."""
SPLITS = ["uniform", "grad_norm", "softmax_dot"]

seeds = st.integers(0, 10_000)
scales = st.sampled_from([1e-10, 1e-3, 1.0, 1e10])
mixes = st.sampled_from([-1.0, -0.999, -0.5, 0.0, 0.3, 0.9, 0.9999, 1.0])
ratios = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
splits = st.sampled_from(SPLITS)


def mixed(
    seed: int, mix: float, retain_scale: float, forget_scale: float
) -> tuple[list[Tensor], list[Tensor]]:
    """A pair of gradients with given alignment, in float64."""
    r, other = normal(seed), normal(seed + 1)
    f = [mix * a + math.sqrt(1 - mix**2) * b for a, b in zip(r, other, strict=True)]
    return scaled([x.double() for x in r], retain_scale), scaled([x.double() for x in f], forget_scale)


def effective(method: str, r: list[Tensor], f: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    return (r, f) if method == "hamu-q" else (scaled(f, -1.0), scaled(r, -1.0))


@pytest.mark.parametrize("method", HAMU)
@given(seed=seeds, mix=mixes, retain_scale=scales, forget_scale=scales, ratio=ratios, split=splits)
@settings(max_examples=60, deadline=None)
def test_step_meets_its_guarantee(method, seed, mix, retain_scale, forget_scale, ratio, split):
    lr = 1e-3
    r, f = mixed(seed, mix, retain_scale, forget_scale)
    # A ratio of the available change, so that all branches occur at all scales.
    constraint = ratio * lr * flat(r).norm().item() * flat(f).norm().item()
    gradients, decision = equivalent_gradients(
        method, r, f, lr=lr, constraint=constraint, constraint_split=split, infeasible="least_step"
    )
    limits = decision.constraint
    for block, (descended, guaranteed) in enumerate(zip(*effective(method, r, f), strict=True)):
        step = -lr * gradients[block]
        needed, radius = limits.needed[block].item(), limits.radius[block].item()
        gained = (guaranteed * step).sum().item()
        slack = 1e-7 * guaranteed.norm().item() * radius
        assert gained >= needed * (1 - 1e-9) - slack
        assert radius == pytest.approx(lr * descended.norm().item(), rel=1e-9)
        if limits.feasible[block]:
            assert step.norm().item() <= radius * (1 + 1e-7)
        else:
            assert decision.branch[block] == Branch.INFEASIBLE
            assert step.norm().item() == pytest.approx(needed / guaranteed.norm().item(), rel=1e-9)


@given(
    seed=seeds,
    mix=st.sampled_from([-0.95, -0.5, 0.0, 0.4, 0.8, 0.99]),
    needed=st.floats(0.0, 0.95),
    size=st.integers(2, 6),
)
@settings(max_examples=40, deadline=None)
def test_no_solver_finds_a_better_step(seed, mix, needed, size):
    random = np.random.default_rng(seed)
    r, other = random.normal(size=(2, size))
    f = mix * r + math.sqrt(1 - mix**2) * other
    radius, bound = 1.0, needed * np.linalg.norm(f)
    gradients, _ = equivalent_gradients(
        "hamu-q", [torch.from_numpy(r)], [torch.from_numpy(f)], lr=1.0, radius=radius, constraint=bound
    )
    step = -gradients[0].numpy()
    start = 0.5 * (1 + needed) * f / np.linalg.norm(f)
    solution = minimize(
        lambda d: r @ d,
        start,
        jac=lambda d: r,
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda d: f @ d - bound, "jac": lambda d: f},
            {"type": "ineq", "fun": lambda d: radius**2 - d @ d, "jac": lambda d: -2 * d},
        ],
        options={"ftol": 1e-12, "maxiter": 300},
    )
    assert f @ step >= bound - 1e-9
    assert np.linalg.norm(step) <= radius + 1e-9
    assume(solution.success)  # True in five of six cases; in the others its line search fails.
    assert r @ step == pytest.approx(solution.fun, abs=1e-8 * np.linalg.norm(r))


@given(seed=seeds, mix=mixes, ratio=ratios, split=splits, normalise=st.booleans())
@settings(max_examples=50, deadline=None)
def test_u_is_q_with_roles_swapped(seed, mix, ratio, split, normalise):
    r, f = mixed(seed, mix, 1.0, 2.0)
    options = dict(lr=1e-2, constraint=1e-2 * ratio, constraint_split=split, normalise_split=normalise)
    u, _ = equivalent_gradients("hamu-u", r, f, **options)
    q, _ = equivalent_gradients("hamu-q", scaled(f, -1.0), scaled(r, -1.0), **options)
    torch.testing.assert_close(u, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", HAMU)
@pytest.mark.parametrize("radius", ["lr", 1e-3])
def test_whole_model_is_the_concatenation_as_one_tensor(method, radius):
    r, f = normal(5), normal(6)
    lr = 1e-2
    options = dict(lr=lr, radius=radius, constraint=1e-3)
    gradients, decision = equivalent_gradients(method, r, f, granularity="model", **options)
    alone, _ = equivalent_gradients(method, [flat(r)], [flat(f)], granularity="tensor", **options)
    assert [gradient.shape for gradient in gradients] == SHAPES
    torch.testing.assert_close(flat(gradients), alone[0])
    (norm,) = decision.constraint.radius
    assert lr * flat(gradients).norm() <= norm * (1 + 1e-6)
    assert len(decision.branch) == 1


def test_branches():
    """One block each, r along the first axis; values computed by hand for learning rate and radius 1."""
    half = math.sqrt(0.5)
    table = [
        # f, constraint, branch, step
        ([-1.0, 0.0], 0.5, Branch.DIRECT, [-1.0, 0.0]),
        ([0.0, 1.0], 0.0, Branch.DIRECT, [-1.0, 0.0]),
        ([0.0, 1.0], half, Branch.RECTIFIED, [-half, half]),
        ([half, half], 0.0, Branch.RECTIFIED, [-half, half]),
        ([3.0, 0.0], 1.5, Branch.COLINEAR, [0.5, 0.0]),
        ([0.0, 2.0], 4.0, Branch.INFEASIBLE, [0.0, 2.0]),
        ([0.0, 0.0], 0.0, Branch.DIRECT, [-1.0, 0.0]),
        ([0.0, 0.0], 0.1, Branch.SKIPPED, [0.0, 0.0]),
    ]
    for f, constraint, branch, step in table:
        gradients, decision = equivalent_gradients(
            "hamu-q",
            [torch.tensor([1.0, 0.0])],
            [torch.tensor(f)],
            lr=1.0,
            radius=1.0,
            constraint=constraint,
            **FIXED,
        )
        assert decision.branch.tolist() == [branch], f
        torch.testing.assert_close(-gradients[0], torch.tensor(step), rtol=1e-6, atol=1e-7)


def test_a_vanished_gradient_does_not_make_the_constraint_vanish():
    r = normal(1)
    gradients, decision = equivalent_gradients("hamu-q", r, zeros(), lr=1e-3, constraint_ratio=0.5, **FIXED)
    assert decision.infeasible_blocks == len(SHAPES)
    assert set(decision.branch.tolist()) == {Branch.SKIPPED}
    assert not flat(gradients).any()
    assert decision.criterion_met


def test_what_to_do_when_infeasible():
    """Two blocks in one dimension with 1 and 0.1 available; 0.5 is required of each."""
    r, f = [torch.tensor([1.0]), torch.tensor([1.0])], [torch.tensor([-1.0]), torch.tensor([-0.1])]
    table = [
        # policy, branches, gradients, within the guarantee, blocks outside their radius, shortfall
        ("least_step", [Branch.DIRECT, Branch.INFEASIBLE], [1.0, 5.0], False, 1, 0.0),
        ("best_effort", [Branch.DIRECT, Branch.BEST_EFFORT], [1.0, 1.0], True, 0, 0.0),
        ("skip", [Branch.DIRECT, Branch.SKIPPED], [1.0, 0.0], True, 0, 0.0),
        ("stop", [Branch.SKIPPED] * 2, [0.0, 0.0], False, 0, 1.0),
        ("finish", [Branch.SKIPPED] * 2, [0.0, 0.0], False, 0, 1.0),
    ]
    for infeasible, branches, expected, within, outside, missing in table:
        gradients, decision = equivalent_gradients(
            "hamu-q", r, f, lr=1.0, constraint=1.0, constraint_split="uniform", infeasible=infeasible
        )
        assert decision.branch.tolist() == branches, infeasible
        assert flat(gradients).tolist() == pytest.approx(expected)
        assert decision.infeasible_blocks == 1
        assert decision.within_guarantee == within, "what one block lacks another may have too much of"
        totals = decision.totals()
        assert totals["blocks_outside_radius"] == outside
        assert totals["constraint_shortfall"] == missing
        longest = 5.0 if infeasible == "least_step" else float(missing == 0)
        assert totals["largest_step_radii"].item() == pytest.approx(longest)


def test_what_to_do_when_the_whole_model_cannot():
    """2.2 is required, 1.1 is available: twice each radius, or each radius, or nothing."""
    r, f = [torch.tensor([1.0]), torch.tensor([1.0])], [torch.tensor([1.0]), torch.tensor([0.1])]
    for infeasible, expected, missing in (
        ("least_step", -2.0, 0.0),
        ("best_effort", -1.0, 0.5),
        ("skip", 0.0, 1.0),
    ):
        gradients, decision = equivalent_gradients(
            "hamu-q", r, f, lr=1.0, constraint=2.2, constraint_split="exact", infeasible=infeasible
        )
        assert flat(gradients).tolist() == pytest.approx([expected, expected])
        assert decision.infeasible_blocks == 2
        assert not decision.within_guarantee
        torch.testing.assert_close(decision.constraint.shortfall, torch.tensor(missing, dtype=torch.float64))
        assert decision.constraint.step_radii.tolist() == pytest.approx([abs(expected)] * 2)


@pytest.mark.parametrize("split", [*SPLITS, "exact"])
@pytest.mark.parametrize("infeasible", ["stop", "finish"])
def test_blocks_without_gradients_stop_nothing(split, infeasible):
    """Like one factor of each of LoRA's pairs at the start: it has no share, so nothing is missing."""
    r, f = normal(3), normal(4)
    for block in (0, 2):
        r[block], f[block] = torch.zeros_like(r[block]), torch.zeros_like(f[block])
    _, decision = equivalent_gradients(
        "hamu-q", r, f, lr=1e-3, constraint_fraction=0.2, constraint_split=split, infeasible=infeasible
    )
    assert decision.infeasible_blocks == 0
    assert decision.within_guarantee
    assert Branch.SKIPPED not in decision.branch.tolist()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("pair", catalogue().values(), ids=catalogue())
def test_shares(split, pair):
    blocks = Blocks.from_shapes(SHAPES, "tensor")
    gram = gram_matrix(flat(pair[0]), flat(pair[1]), blocks)
    norms = gram[:, 0, 0].sqrt() * gram[:, 1, 1].sqrt()
    shares = constraint_shares(gram, norms, split, normalise=True)
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert (shares >= 0).all()
    if norms.any():
        assert not shares[norms == 0].any(), "a block that can give nothing is asked for nothing"
    raw = constraint_shares(gram, norms, split, normalise=False)
    assert raw.isfinite().all()
    if split == "softmax_dot":
        asked = (norms > 0) | ~norms.any()
        torch.testing.assert_close(shares[asked], torch.softmax(-gram[asked, 0, 1], 0))
        assert raw.max() == 1
    if split == "grad_norm":
        torch.testing.assert_close(raw, norms)


@pytest.mark.parametrize("split", ["uniform", "softmax_dot"])
def test_a_block_with_a_tiny_gradient_is_not_sent_far_away(split):
    r, f = normal(1), normal(2)
    r[1], f[1] = 1e-8 * r[1], 1e-8 * f[1]
    _, decision = equivalent_gradients(
        "hamu-q", r, f, lr=1e-3, constraint_ratio=0.5, constraint_split=split, infeasible="least_step"
    )
    limits = decision.constraint
    assert limits.needed[1] == 0
    whole = limits.total / limits.available.sum()
    assert limits.step_radii.max() <= 1000 * len(r) * whole
    torch.testing.assert_close(limits.gained.sum().clamp(max=limits.total), limits.total)


@pytest.mark.parametrize("weighting", [quality_weighting, utility_weighting])
def test_learning_rate_may_be_a_tensor_and_may_be_zero(weighting):
    gram = gram_matrix(flat(normal(1)), flat(normal(2)), Blocks.from_shapes(SHAPES, "tensor"))
    settings_ = HAMUHyperparameters(constraint_ratio=0.5)
    expected = weighting(gram, Context(lr=1e-3, hyperparameters=settings_))
    tensor = weighting(gram, Context(lr=torch.tensor(1e-3, dtype=torch.float64), hyperparameters=settings_))
    torch.testing.assert_close(tensor.weights, expected.weights, rtol=1e-12, atol=0)
    torch.testing.assert_close(tensor.constraint.radius, expected.constraint.radius)
    # In units of the learning rate, nothing depends on it.
    torch.testing.assert_close(
        weighting(gram, Context(lr=0.0, hyperparameters=settings_)).weights, expected.weights
    )
    absolute = weighting(
        gram, Context(lr=0.0, hyperparameters=HAMUHyperparameters(constraint=1.0, radius=0.1))
    )
    assert not absolute.weights.any()
    ratio = HAMUHyperparameters(constraint=0.5e-3)
    torch.testing.assert_close(
        weighting(gram, Context(lr=1e-3, hyperparameters=ratio)).weights,
        expected.weights,
        rtol=1e-12,
        atol=1e-15,
    )


@pytest.mark.parametrize("method", HAMU)
def test_stopping_margin_is_what_both_objectives_leave(method):
    """In each block, the largest gain of one objective at no cost for the other: all of it without conflict."""
    r, f = normal(3), normal(4)
    _, decision = equivalent_gradients(method, r, f, lr=1e-3, constraint=2e-3)
    terms = []
    for block, (cost, gain) in enumerate(zip(*effective(method, r, f), strict=True)):
        radius = decision.constraint.radius[block].item()
        cost, gain = (x.double().reshape(-1).numpy() for x in (cost, gain))
        lengths = lambda scale, gain=gain, cost=cost: np.linalg.norm(gain - scale * cost)  # noqa: E731
        upper = 2 * np.linalg.norm(gain) / np.linalg.norm(cost)
        dual = minimize_scalar(lengths, bounds=(0, upper), method="bounded", options={"xatol": 1e-12 * upper})
        terms.append(radius * min(dual.fun, np.linalg.norm(gain)))
    conflict = decision.retain_forget > 0
    assert conflict.any()
    assert not conflict.all()
    expected = torch.tensor(terms, dtype=torch.float64)
    torch.testing.assert_close(decision.constraint.stopping_terms, expected, rtol=1e-7, atol=1e-15)
    torch.testing.assert_close(decision.stopping_margin, expected.sum() - 2e-3, rtol=1e-6, atol=1e-12)
    assert decision.criterion_met == (expected.sum() < 2e-3)


@pytest.mark.parametrize("split", ["grad_norm", "softmax_dot"])
def test_the_criterion_is_about_what_blocks_are_asked_for(split):
    """Shares that do not sum to one require more, or less, than the constraint."""
    options = dict(lr=1e-3, constraint_ratio=0.4, constraint_split=split, normalise_split=False)
    _, decision = equivalent_gradients("hamu-q", normal(3), normal(4), **options)
    limits = decision.constraint
    torch.testing.assert_close(limits.total, limits.needed.sum())
    assert abs(limits.total - 0.4e-3) > 1e-5
    torch.testing.assert_close(decision.stopping_margin, limits.stopping_terms.sum() - limits.needed.sum())


@pytest.mark.parametrize("method", HAMU)
def test_asking_for_nothing_never_meets_the_stopping_criterion(method):
    _, decision = equivalent_gradients(method, zeros(), zeros(), lr=1e-3, constraint=0.0)
    assert decision.stopping_margin == 0
    assert not decision.criterion_met
