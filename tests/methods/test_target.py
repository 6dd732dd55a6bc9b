"""Constraints that stop requiring forgetting as its target is reached."""

import pytest
import torch
from gradient_pairs import SHAPES, catalogue, flat, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.methods import METHODS, Blocks, Context, Decision, gram_matrix, remaining_to_target

losses = st.floats(-100, 100)


@given(loss=losses, start=losses, target=losses)
def test_what_remains_is_a_part_of_the_way(loss: float, start: float, target: float) -> None:
    remaining = remaining_to_target(torch.tensor(loss), start=start, target=target)
    assert remaining.dtype == torch.float64
    assert remaining.ndim == 0
    assert 0 <= remaining.item() <= 1
    if loss >= target or start >= target:
        assert remaining.item() == pytest.approx(0, abs=1e-5 * 100 / max(target - start, 1e-5))


def test_what_remains_in_numbers() -> None:
    found = [
        remaining_to_target(torch.tensor(loss), start=1.0, target=5.0).item()
        for loss in (-3.0, 1.0, 2.0, 4.0, 5.0, 9.0)
    ]
    assert found == [1.0, 1.0, 0.75, 0.25, 0.0, 0.0]
    assert remaining_to_target(torch.tensor(0.0), start=5.0, target=5.0).item() == 0.0
    assert remaining_to_target(torch.tensor(float("nan")), start=1.0, target=5.0).isnan()


def decided(name: str, pair: tuple, remaining: float | None = None, **values: object) -> Decision:
    gram = gram_matrix(*map(flat, pair), Blocks.from_shapes(SHAPES, "tensor"))
    left = None if remaining is None else torch.tensor(remaining, dtype=torch.float64)
    record = METHODS[name].hyperparameters.of(values)
    return METHODS[name].weighting(gram, Context(lr=0.01, hyperparameters=record, remaining=left))


@pytest.mark.parametrize("split", ["exact", "grad_norm"])
@pytest.mark.parametrize("name", ["hamu-q", "hamu-u"])
@given(seed=st.integers(0, 1000), fraction=st.floats(0, 1), remaining=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_a_fraction_moves_to_none_or_all(
    name: str, split: str, seed: int, fraction: float, remaining: float
) -> None:
    """HAMU-Q requires less forgetting, HAMU-U more utility, and both steps are those of the changed constraint."""
    pair = normal(seed), normal(seed + 1)
    moved = decided(name, pair, remaining, constraint_fraction=fraction, constraint_split=split)
    expected = remaining * fraction if name == "hamu-q" else 1 - remaining * (1 - fraction)
    plain = decided(name, pair, constraint_fraction=min(expected, 1.0), constraint_split=split)
    assert moved.constraint is not None
    assert plain.constraint is not None
    torch.testing.assert_close(moved.constraint.total, plain.constraint.total)
    # The step's direction changes with the root of the constraint's distance to the available change.
    torch.testing.assert_close(moved.weights, plain.weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("split", ["exact", "grad_norm"])
@pytest.mark.parametrize("pair", catalogue().values(), ids=catalogue())
def test_at_the_target_nothing_more_is_forgotten_for_its_own_sake(pair: tuple, split: str) -> None:
    gram = gram_matrix(*map(flat, pair), Blocks.from_shapes(SHAPES, "tensor"))
    quality = decided("hamu-q", pair, 0.0, constraint_ratio=0.5, constraint_split=split)
    assert quality.constraint is not None
    assert quality.constraint.total == 0
    assert quality.constraint.feasible.all()
    utility = decided("hamu-u", pair, 0.0, constraint_ratio=0.5, constraint_split=split)
    for decision in (quality, utility):
        # The change of the retain loss, r.d = -lr r.(a r + b f), is no rise: in any block, or over the whole model.
        change = -(decision.weights * gram[:, 0]).sum(-1)
        change = change.sum() if split == "exact" else change
        assert (change <= 1e-9 * gram[:, 0].abs().max()).all()


@pytest.mark.parametrize("name", ["hamu-q", "hamu-u"])
def test_all_that_remains_is_the_step_without_a_target(name: str) -> None:
    pair = normal(1), normal(2)
    for values in ({"constraint_ratio": 0.5}, {"constraint": 1e-3}, {"constraint_fraction": 0.3}):
        without, whole = decided(name, pair, **values), decided(name, pair, 1.0, **values)
        torch.testing.assert_close(whole.weights, without.weights)
