"""Similarity of representations and their principal components, against other formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from hamu_ray.metrics.activations import linear_cka, principal_components

seeds = st.integers(0, 10_000)


def made(seed: int, features: int, examples: int = 20) -> np.ndarray:
    return np.random.default_rng((seed, features)).normal(size=(examples, features))


@given(seeds, st.integers(1, 30), st.integers(1, 30))
def test_cka_is_the_formula_in_features(seed: int, one: int, other: int) -> None:
    """Kornblith et al. 2019, section 3: norms of cross-covariances instead of Gram matrices of examples."""
    x, y = made(seed, one), made(seed + 1, other)
    a, b = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y) == pytest.approx(expected)
    assert linear_cka(y, x) == pytest.approx(expected)
    assert -1e-9 <= expected <= 1 + 1e-9


@given(seeds, st.integers(2, 30), st.floats(0.01, 100))
def test_rotation_scale_and_shift_do_not_matter(seed: int, features: int, scale: float) -> None:
    x = made(seed, features)
    rotation, _ = np.linalg.qr(made(seed + 1, features, features))
    assert linear_cka(x, scale * x @ rotation + 3) == pytest.approx(1)


def test_cka_is_undefined_for_what_cannot_be_compared() -> None:
    x = made(0, 4)
    assert math.isnan(linear_cka(x, np.ones((20, 3))))
    assert math.isnan(linear_cka(x, np.full((20, 3), np.inf)))
    with pytest.raises(ValueError, match="20 examples and 5"):
        linear_cka(x, x[:5])


@given(seeds, st.integers(2, 30))
def test_components_are_those_of_scikit_learn(seed: int, features: int) -> None:
    x = made(seed, features)
    expected = PCA(2, svd_solver="full").fit_transform(x)
    found = principal_components(x, 2)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(principal_components(x + 5, 2), found, atol=1e-8)


def test_components_that_do_not_exist_are_zero() -> None:
    assert principal_components(np.empty((0, 3)), 2).shape == (0, 2)
    assert (principal_components(made(0, 1), 2)[:, 1] == 0).all()
    assert np.isnan(principal_components(np.full((3, 2), np.nan), 2)).all()
