"""Attacks on made-up losses, against loops written from the papers."""

import math

import numpy as np
import pytest
import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from hamu_ray.metrics.attacks.klom import klom, margin_divergences
from hamu_ray.metrics.attacks.lira import likelihood_ratios, lira, lira_online, ulira
from hamu_ray.metrics.attacks.margins import margins
from hamu_ray.metrics.attacks.names import ATTACK
from hamu_ray.metrics.attacks.relative import leave_one_out_distances, relative_test
from hamu_ray.metrics.attacks.rmia import dominance, rmia
from hamu_ray.metrics.attacks.roc import auc, tpr_at_low_fpr
from hamu_ray.metrics.attacks.spread import spread
from hamu_ray.metrics.undefined import Undefined

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)


def losses(seed: int, models: int, examples: int, level: float = 0.0) -> np.ndarray:
    """Losses of models that are training runs of the same kind: each example has its own level."""
    generator = np.random.default_rng(seed)
    shared = np.random.default_rng(examples).normal(size=examples)
    return np.logaddexp(0, shared + generator.normal(scale=0.7, size=(models, examples)) + level)


@given(st.floats(1e-9, 30))
def test_margins(loss: float) -> None:
    assert margins(loss) == pytest.approx(slow.margin(loss), rel=1e-5, abs=1e-6)


def test_margins_are_the_classifiers_own() -> None:
    """The true class's logit minus the log-sum-exp of the others', for any losses."""
    logits = np.random.default_rng(0).normal(scale=6, size=(200, 10))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[:, 0]
    expected = logits[:, 0] - np.log(np.exp(logits[:, 1:]).sum(axis=1))
    np.testing.assert_allclose(margins(losses), expected, atol=1e-4)
    assert np.isfinite(margins([0.0, 1e-300, 1e6])).all()
    assert margins(np.inf) == -np.inf
    assert np.isnan(margins([-1.0, np.nan])).all()


@few
@given(SEEDS, st.integers(2, 12), st.integers(2, 12))
def test_likelihood_ratios(seed: int, outside: int, inside: int) -> None:
    observed, *rows = (margins(losses(seed + i, m, 15, i / 2)) for i, m in enumerate((1, outside, inside)))
    expected = slow.online(observed[0], *rows)
    np.testing.assert_allclose(likelihood_ratios(observed[0], *rows), expected, rtol=1e-6, atol=1e-6)
    probabilities = np.array(slow.offline(observed[0], rows[0]))
    scores = likelihood_ratios(observed[0], rows[0])
    np.testing.assert_allclose(scores, np.log(probabilities / (1 - probabilities)), rtol=1e-4, atol=1e-4)


@few
@given(SEEDS, st.integers(2, 10))
def test_lira(seed: int, references: int) -> None:
    models = losses(seed, references + 1, 140)
    forget, test = models[:, :30], models[:, 30:]
    found = lira(forget[0], test[0], forget[1:], test[1:])
    scores = slow.offline(margins(models[0]), margins(models[1:]))
    assert found["lira_auc"] == pytest.approx(slow.auc(scores[:30], scores[30:]), abs=2e-3)
    assert found["lira_tpr_at_1_fpr"] == pytest.approx(slow.tpr(scores[:30], scores[30:]))


def test_lira_online() -> None:
    """Left out one by one; a reference in place of the model is at 0.5 on average."""
    originals, references = losses(1, 9, 40, -2), losses(2, 9, 40)
    members, others = [], []
    for left in range(9):
        rest = margins(np.delete(references, left, axis=0))
        members += slow.online(margins(originals[0]), rest, margins(originals[1:]))
        others += slow.online(margins(references[left]), rest, margins(originals[1:]))
    found = lira_online(originals[0], originals[1:], references)
    assert found["lira_online_auc"] == pytest.approx(slow.auc(members, others), abs=1e-3)
    assert found["lira_online_tpr_at_1_fpr"] == pytest.approx(slow.tpr(members, others), abs=1e-3)
    assert found["lira_online_auc"] > 0.9
    another = [
        lira_online(one, originals, np.delete(references, i, axis=0))["lira_online_auc"]
        for i, one in enumerate(references)
    ]
    assert np.mean(another) == pytest.approx(0.5, abs=0.03)


def test_ulira_finds_what_unlearning_leaves_behind() -> None:
    """Also where losses are like the references' on average: examples are pushed apart, each in its own direction."""
    shift = np.random.default_rng(5).choice([-2.0, 2.0], size=60)
    references = losses(2, 9, 60)
    left = np.logaddexp(0, np.log(np.expm1(losses(1, 5, 60))) + shift)
    members, others = [], []
    for number in range(9):
        rest = margins(np.delete(references, number, axis=0))
        members += slow.online(margins(left[0]), rest, margins(left[1:]))
        others += slow.online(margins(references[number]), rest, margins(left[1:]))
    found = ulira(left[0], left[1:], references)
    assert found["ulira_auc"] == pytest.approx(slow.auc(members, others), abs=1e-3)
    assert found["ulira_tpr_at_1_fpr"] == pytest.approx(slow.tpr(members, others), abs=1e-3)
    assert found["ulira_auc"] > 0.9
    assert auc(margins(left[0]), margins(references[0])) == pytest.approx(0.5, abs=0.1)
    assert ulira(references[0], left[1:], references[1:])["ulira_auc"] < 0.6


@few
@given(SEEDS)
def test_rmia(seed: int) -> None:
    models = losses(seed, 2, 50)
    scores = dominance(models[0, :20], models[1, :20], models[0, 20:], models[1, 20:])
    confidences = np.exp(-models)
    population = list(confidences[:, 20:].T)
    assert scores == pytest.approx([slow.rmia(*one, population) for one in confidences[:, :20].T])


def test_rmia_finds_what_only_one_model_knows() -> None:
    known = losses(3, 2, 400, 1)
    trained = np.concatenate([known[0, :100] * 0.01, known[0, 100:]])
    assert rmia(trained[:100], trained[100:], known[1, :100], known[1, 100:])["rmia_auc"] > 0.9
    same = rmia(known[0, :100], known[0, 100:], known[1, :100], known[1, 100:])
    assert same["rmia_auc"] == pytest.approx(0.5, abs=0.1)


@few
@given(SEEDS, st.integers(2, 9), st.integers(2, 9))
def test_klom(seed: int, models: int, references: int) -> None:
    found, known = margins(losses(seed, models, 30)), margins(losses(seed + 1, references, 30))
    expected = [slow.klom(a, b) for a, b in zip(found.T, known.T, strict=True)]
    np.testing.assert_allclose(margin_divergences(found, known), expected, atol=1e-9)
    percentile = klom(losses(seed, models, 30), losses(seed + 1, references, 30))["klom_p95"]
    assert percentile == pytest.approx(np.percentile(expected, 95))


@few
@given(SEEDS)
def test_klom_is_zero_for_the_same_models_and_largest_for_disjoint_ones(seed: int) -> None:
    found = losses(seed, 5, 20)
    assert klom(found, found)["klom_p95"] == 0
    assert klom(found, found + 60)["klom_p95"] == pytest.approx(math.log(1e5))


@few
@given(SEEDS, st.integers(2, 12))
def test_relative_test(seed: int, references: int) -> None:
    models = losses(seed, references + 1, 25)
    found = relative_test(models[0], models[1:])
    assert found["relative_test_p"] == pytest.approx(slow.relative(margins(models[0]), margins(models[1:])))
    assert found["relative_test_smallest_p"] == 1 / (references + 1)


@few
@given(SEEDS, st.integers(3, 12), st.floats(5, 20))
def test_the_p_value_is_exact(seed: int, references: int, shift: float) -> None:
    """Each model in turn against the others: every rank occurs once. A model that is shifted is the farthest."""
    models = losses(seed, references + 1, 25)
    found = sorted(
        relative_test(models[i], np.delete(models, i, axis=0))["relative_test_p"] for i in range(len(models))
    )
    np.testing.assert_allclose(found, np.arange(1, len(models) + 1) / len(models))
    assert relative_test(models[0] + shift, models[1:])["relative_test_p"] == 1 / len(models)
    assert len(leave_one_out_distances(models)) == len(models)


@few
@given(SEEDS)
def test_roc(seed: int) -> None:
    generator = np.random.default_rng(seed)
    members, others = generator.integers(0, 40, 30) / 4, generator.integers(0, 30, 150) / 4
    assert auc(members, others) == pytest.approx(slow.auc(members, others))
    assert tpr_at_low_fpr(members, others) == pytest.approx(slow.tpr(members, others))


@pytest.mark.parametrize("count", [2, 5, 30])
def test_a_prediction_interval_holds_one_more_value_95_times_in_100(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(1000, count + 1))
    held = [spread(row[1:]).contains(row[0]) for row in values]
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_a_spread_of_equal_values_contains_only_them() -> None:
    same = spread([0.1 + 0.2, 0.3, 0.3])
    assert same.contains(0.3)
    assert same.reaches(0.2)
    assert not same.reaches(0.31)
    assert spread([0.3]).contains(0.3) is None
    assert spread([]).contains(0.3) is None
    assert spread([0.1, 0.2]).reaches(math.nan) is None


BROKEN = np.array([np.nan] * 120)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lira(BROKEN, BROKEN, losses(0, 3, 120), losses(0, 3, 120)), "120 of 120 losses of forget"),
        (lira(*losses(0, 2, 9), losses(0, 1, 9), losses(0, 1, 9)), "at least 2 references"),
        (lira([], [1.0], np.empty((2, 0)), losses(0, 2, 1)), "there are no losses of forget"),
        (lira_online(losses(0, 1, 9)[0], losses(0, 1, 9), losses(0, 4, 9)), "original.seeds"),
        (lira_online(losses(0, 1, 9)[0], losses(0, 2, 9), losses(0, 2, 9)), "reference.seeds"),
        (ulira(losses(0, 1, 9)[0], np.empty((0, 0)), losses(0, 4, 9)), "original.seeds to 3"),
        (ulira(losses(0, 1, 9)[0], losses(0, 2, 9), losses(0, 2, 9)), "reference.seeds"),
        (rmia([-1.0], [1.0], [1.0], [1.0]), "not negative log-probabilities"),
        (klom(losses(0, 1, 9), losses(0, 3, 9)), "original.seeds"),
        (klom(losses(0, 3, 9), losses(0, 1, 9)), "reference.seeds"),
        (relative_test(losses(0, 1, 9)[0], losses(0, 1, 9)), "reference.seeds"),
    ],
)
def test_undefined_with_a_reason(found: dict[str, float], reason: str) -> None:
    assert found.keys() <= ATTACK.keys()
    for value in found.values():
        assert isinstance(value, Undefined)
        assert reason in value.reason


def test_few_test_examples_have_no_rate_of_1_percent() -> None:
    found = lira(*losses(0, 2, 50), losses(1, 3, 50), losses(1, 3, 50))
    assert isinstance(found["lira_tpr_at_1_fpr"], Undefined)
    assert "50 non-members" in found["lira_tpr_at_1_fpr"].reason
    assert 0 <= found["lira_auc"] <= 1
