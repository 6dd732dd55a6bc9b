import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from hamu_ray.metrics.comparison import (
    avg_gap,
    forget_quality,
    measured_forget_quality,
    nothing_to_forget,
    privleak,
    score_quality,
)
from hamu_ray.metrics.measured import Measured
from hamu_ray.metrics.undefined import Undefined, reasons

MODEL = {"unlearning_accuracy": 0.9, "retain_accuracy": 0.8, "test_accuracy": 0.7, "mia_confidence": 0.6}
REFERENCE = {"unlearning_accuracy": 1.0, "retain_accuracy": 1.0, "test_accuracy": 0.6, "mia_confidence": 0.6}


def test_avg_gap_by_hand() -> None:
    assert avg_gap(MODEL, REFERENCE) == pytest.approx((0.1 + 0.2 + 0.1 + 0.0) / 4)
    assert avg_gap(REFERENCE, REFERENCE) == 0


def test_avg_gap_is_no_mean_over_what_happens_to_be_there() -> None:
    missing = {name: value for name, value in MODEL.items() if name != "mia_confidence"}
    for model, reference, whose in (
        (missing, REFERENCE, "the model"),
        (MODEL, {**REFERENCE, "mia_confidence": Undefined("why not")}, "the reference"),
        (MODEL, {**REFERENCE, "mia_confidence": math.nan}, "the reference"),
    ):
        gap = avg_gap(model, reference)
        assert isinstance(gap, Undefined)
        assert gap.reason.startswith(f"mia_confidence of {whose} is not defined")


# Few distinct values, so that ties occur within and between the samples.
losses = st.lists(st.integers(0, 12).map(lambda n: n / 4), min_size=1, max_size=40)


@given(losses, losses)
@settings(deadline=None)
def test_forget_quality_is_one_less_scipys_statistic(model: list[float], reference: list[float]) -> None:
    expected = 1 - ks_2samp(model, reference, method="asymp").statistic  # the method is of the p-value
    assert forget_quality(model, reference) == pytest.approx(expected, abs=1e-12)


@given(losses, losses, st.floats(-5, 5), st.floats(0.1, 10), st.randoms())
@settings(deadline=None)
def test_only_the_order_of_losses_matters(
    model: list[float], reference: list[float], shift: float, scale: float, random: object
) -> None:
    quality = forget_quality(model, reference)
    assert 0 <= quality <= 1
    assert forget_quality(model, model[::-1]) == 1
    assert forget_quality(reference, model) == quality
    # Losses below the reference's are as distant as losses equally far above it.
    mirrored = [-loss for loss in model], [-loss for loss in reference]
    assert forget_quality(*mirrored) == pytest.approx(quality, abs=1e-12)
    moved = [[shift + scale * loss for loss in sample] for sample in (model, reference)]
    assert forget_quality(*moved) == pytest.approx(quality, abs=1e-12)


@given(losses, losses)
def test_what_one_threshold_separates_has_no_quality_on_either_side(
    low: list[float], high: list[float]
) -> None:
    above = [loss + 100 for loss in high]
    assert forget_quality(low, above) == forget_quality(above, low) == 0


def test_forget_quality_needs_whole_samples() -> None:
    for model, reference, reason in (
        ([], [1.0], "there are no losses on the forget set of the model"),
        ([1.0], [], "there are no losses on the forget set of the reference"),
        ([1.0, math.nan, math.inf], [1.0], "2 of 3 losses on the forget set of the model are not finite"),
    ):
        assert reasons({"q": forget_quality(model, reference)}) == {"q": reason}


def test_a_draw_of_the_forget_set_is_compared_with_the_same_draw() -> None:
    reference = Measured({}, {"forget_losses": [0.0, 10.0, 20.0, 30.0]})
    drawn = Measured({}, {"forget_losses": [10.0, 30.0]})

    def draw(size: int) -> np.ndarray:
        assert size == 2
        return np.array([1, 3])

    assert measured_forget_quality(drawn, reference, 4, draw) == {"forget_quality": 1}
    assert measured_forget_quality(reference, reference, 4, draw) == {"forget_quality": 1}
    plain = measured_forget_quality({"forget_accuracy": 0.5}, reference, 4, draw)
    assert reasons(plain) == {"forget_quality": "there are no losses on the forget set of the model"}


@given(
    st.lists(st.lists(st.integers(0, 9).map(float), min_size=3, max_size=3), min_size=2, max_size=4),
    st.lists(st.integers(0, 9).map(float), min_size=3, max_size=3),
)
def test_several_references_count_as_one_sample_and_set_a_ceiling(
    references: list[list[float]], model: list[float]
) -> None:
    pooled = Measured({}, {"forget_losses": [loss for one in references for loss in one]})
    first_two = np.array([0, 1])
    for losses, part in ((model, slice(None)), (model[:2], slice(2))):
        measured = Measured({}, {"forget_losses": losses})
        compared = measured_forget_quality(measured, pooled, 3, lambda _: first_two)
        known = [loss for one in references for loss in one[part]]
        assert compared["forget_quality"] == forget_quality(losses, known)
        each = [
            forget_quality(one, [loss for other in references[:i] + references[i + 1 :] for loss in other])
            for i, one in enumerate(references)
        ]
        assert compared["forget_quality_ceiling"] == pytest.approx(np.mean(each))


def test_an_original_that_does_not_know_the_forget_set_has_nothing_to_forget() -> None:
    assert nothing_to_forget({"forget_quality": 0.8}) == ""
    assert nothing_to_forget({"forget_quality": math.nan}) == nothing_to_forget({}) == ""
    assert nothing_to_forget({"forget_quality": 0.93}) == (
        "nothing to forget: before unlearning, the original's forget_quality is 0.93 (above 0.8): it hardly differs "
        "from a model that never saw the data"
    )


def test_a_score_below_the_references_is_no_better_than_one_above() -> None:
    assert score_quality(0.3, 0.3) == 1
    assert score_quality(0.1, 0.3) == pytest.approx(score_quality(0.5, 0.3))
    assert score_quality(0.0, 1.0) == 0


def test_score_quality_hands_the_reason_on() -> None:
    quality = score_quality(Undefined("there are no examples"), 0.0)
    assert reasons({"q": quality}) == {
        "q": "the score on the forget set of the model is not defined: there are no examples"
    }


def test_a_reason_survives_pickling_and_plain_nan_has_one_too() -> None:
    copy = pickle.loads(pickle.dumps(Undefined("no images")))
    assert math.isnan(copy)
    assert reasons({"a": copy, "b": 0.5, "c": math.nan}) == {
        "a": "no images",
        "c": "not defined; the reason was not kept",
    }


def test_privleak_by_hand() -> None:
    assert privleak(0.6, 0.6) == 0
    assert privleak(1.0, 0.6) == -1
    assert privleak(0.8, 0.6) == pytest.approx((0.2 - 0.4) / 0.4)
    assert privleak(0.2, 0.6) == pytest.approx(1)


def test_privleak_needs_both_aucs_and_a_reference_that_leaks_less_than_all() -> None:
    for model, reference, reason in (
        (0.5, 1.0, "the reference's own membership AUC is 1"),
        (
            0.5,
            Undefined("it was not measured"),
            "the membership AUC of the reference is not defined: it was not measured",
        ),
        (Undefined("why"), 0.5, "the membership AUC of the model is not defined: why"),
    ):
        assert reasons({"p": privleak(model, reference)}) == {"p": reason}
