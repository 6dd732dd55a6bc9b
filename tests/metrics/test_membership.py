import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from hamu_ray.metrics.membership import auc_loss, mia_confidence
from hamu_ray.metrics.undefined import Undefined

few_losses = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12).map(np.array)


def pairs_won(members: np.ndarray, others: np.ndarray) -> float:
    return float(np.mean([(m < o) + 0.5 * (m == o) for m in members for o in others]))


@given(few_losses, few_losses)
def test_auc_is_the_share_of_pairs_in_which_the_member_has_the_lower_loss(
    members: np.ndarray, others: np.ndarray
) -> None:
    assert auc_loss(members, others) == pytest.approx(pairs_won(members, others))


def test_auc_orientation() -> None:
    low, high = np.array([0.1, 0.2]), np.array([1.0, 2.0, 3.0])
    assert auc_loss(low, high) == 1.0
    assert auc_loss(high, low) == 0.0
    assert auc_loss(low, low) == 0.5
    truth = np.r_[np.ones(2), np.zeros(3)]
    assert auc_loss(low, high) == roc_auc_score(truth, -np.r_[low, high])


def test_attack_distinguishes_separable_confidences() -> None:
    generator = np.random.default_rng(0)
    retain, test = generator.uniform(0.9, 1.0, 300), generator.uniform(0.0, 0.1, 100)
    forget = np.r_[np.full(30, 0.95), np.full(10, 0.05)]
    assert mia_confidence(retain, test, forget, seed=0) == pytest.approx(0.25)


def test_attack_is_the_classifier_of_the_definition() -> None:
    generator = np.random.default_rng(1)
    retain, test, forget = generator.beta(6, 1, 200), generator.beta(3, 1, 80), generator.beta(4, 1, 50)
    drawn = np.random.default_rng(5).permutation(200)[:80]
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    attack.fit(np.r_[retain[drawn], test].reshape(-1, 1), np.r_[np.ones(80), np.zeros(80)])
    expected = 1 - attack.predict(forget.reshape(-1, 1)).mean()
    assert mia_confidence(retain, test, forget, seed=5) == pytest.approx(expected)
    assert 0 < expected < 1


@given(
    st.tuples(st.floats(-2, 8), st.floats(0.5, 4)),
    st.tuples(st.floats(-2, 8), st.floats(0.5, 4)),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=10)
def test_bins_hardly_change_the_attack(
    members: tuple[float, float], others: tuple[float, float], seed: int
) -> None:
    """Confidences of any two distributions, compared with the classifier fitted on each example."""
    generator = np.random.default_rng(seed)
    retain, test, forget = (
        1 / (1 + np.exp(-generator.normal(*shape, size)))
        for shape, size in ((members, 1200), (others, 1200), (others, 2000))
    )
    attack = SVC(C=3, gamma=1, kernel="rbf").fit(
        np.r_[retain, test][:, None], np.r_[np.ones(1200), np.zeros(1200)]
    )
    # The classifier's own tolerance moves its threshold: only what is clearly on one side has to stay there.
    margins = attack.decision_function(forget[:, None])
    low, high = (margins < -0.01).mean(), (margins < 0.01).mean()
    assert low - 0.002 <= mia_confidence(retain, test, forget, seed=seed) <= high + 0.002


def test_the_attack_on_many_examples() -> None:
    generator = np.random.default_rng(0)
    retain, test, forget = (
        (1 / (1 + np.exp(-generator.normal(mean, spread, size)))).astype(np.float32)
        for mean, spread, size in ((6, 2.5, 5_000), (4, 3.5, 5_000), (4, 3.5, 5_000))
    )
    attack = SVC(C=3, gamma=1, kernel="rbf")
    attack.fit(np.r_[retain, test][:, None], np.r_[np.ones(5_000), np.zeros(5_000)])
    exact = 1 - attack.predict(forget[:, None]).mean()
    found = mia_confidence(retain, test, forget, seed=0)
    assert found == pytest.approx(exact, abs=0.002)
    assert 0.2 < exact < 0.8


def test_attack_takes_all_members_where_there_are_fewer_than_test_examples() -> None:
    retain, test = np.linspace(0.9, 1, 5), np.linspace(0, 0.1, 9)
    assert mia_confidence(retain, test, np.array([0.97, 0.02]), seed=0) == pytest.approx(0.5)


@pytest.mark.parametrize("empty", ["retain", "test", "forget"])
def test_attack_needs_every_split(empty: str) -> None:
    splits = {"retain": np.array([0.9, 0.8]), "test": np.array([0.1, 0.2]), "forget": np.array([0.5])}
    measure = mia_confidence(**{**splits, empty: np.array([])}, seed=0)
    assert isinstance(measure, Undefined)
    assert measure.reason == f"there are no {empty} examples"


def test_attack_on_values_that_are_not_finite_or_all_the_same_is_not_defined() -> None:
    same = np.ones(4)
    with_nan = np.array([0.1, math.nan])
    for measure, reason in (
        (mia_confidence(same, with_nan, same, seed=0), "1 of 2 test values are not finite"),
        (mia_confidence(same, same, same, seed=0), "members and non-members all have the same confidence"),
    ):
        assert isinstance(measure, Undefined)
        assert measure.reason == reason


def test_auc_of_losses_that_are_not_finite_is_not_half() -> None:
    assert isinstance(auc_loss(np.array([math.inf]), np.array([1.0])), Undefined)
    assert isinstance(auc_loss(np.array([]), np.array([1.0])), Undefined)
