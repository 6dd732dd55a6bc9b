import math
import pickle

import pytest

from hamu_ray.metrics.comparison import avg_gap, forget_quality, privleak, retain_utility
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


def test_over_forgetting_is_no_better_than_remembering() -> None:
    assert forget_quality(0.3, 0.3) == 1
    assert forget_quality(0.1, 0.3) == pytest.approx(forget_quality(0.5, 0.3))
    assert forget_quality(0.0, 1.0) == 0


def test_forget_quality_hands_the_reason_on() -> None:
    quality = forget_quality(Undefined("there are no examples"), 0.0)
    assert reasons({"q": quality}) == {
        "q": "the score on the forget set of the model is not defined: there are no examples"
    }
    assert retain_utility(0.25) == 0.25


def test_a_reason_survives_pickling_and_is_told_for_plain_nan_too() -> None:
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
