import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.results.hardness import first_sine, hardness_sentences, histories_of
from hamu_ray.results.outcome import Report

HISTORIES = {"hardness": {1: 0.25, 2: 0.4, 3: 0.75}, "gradient_cosine": {1: 0.6, 2: 1.0}}


@pytest.mark.parametrize(
    ("name", "gain", "cost"), [("hamu-q", "forgetting", "retaining"), ("hamu-u", "retaining", "forgetting")]
)
def test_what_is_free_at_both_ends(name: str, gain: str, cost: str) -> None:
    ratio = {"name": name, "constraint_ratio": 0.5}
    assert hardness_sentences(HISTORIES, ratio) == [
        f"75.0 % of the {gain} available in the first step costs nothing in {cost}, 25.0 % in the last."
    ]


def test_no_sentences_without_hardness() -> None:
    assert hardness_sentences(HISTORIES, {"name": "gdiff"}) == []
    assert hardness_sentences({}, {"name": "hamu-q"}) == []
    assert hardness_sentences({"hardness": {1: math.nan}}, {"name": "hamu-q"}) == []


@pytest.mark.parametrize(
    ("fraction", "side"), [(0.74, "less than what is free"), (0.76, "no less than what is free")]
)
def test_where_the_fraction_stands(fraction: float, side: str) -> None:
    _, sentence = hardness_sentences(HISTORIES, {"name": "hamu-q", "constraint_fraction": fraction})
    assert "asks for 25.0 % of it, less" in hardness_sentences(HISTORIES, {"name": "hamu-q"})[1], "by default"
    assert f"{fraction:.1%}".replace("%", " %") in sentence
    assert f", {side} in the first step" in sentence
    assert "(sine of the gradients' angle: 80.0 %)" in sentence


@given(st.floats(0, 180))
def test_the_sine_of_the_angle(degrees: float) -> None:
    angle = math.radians(degrees)
    expected = math.sin(angle) if degrees <= 90 else 1.0
    assert first_sine({"gradient_cosine": {4: math.cos(angle), 5: 0.0}}) == pytest.approx(expected, abs=1e-7)


def test_histories_of_reports() -> None:
    reports = [
        Report(
            "unlearning",
            2,
            4,
            history={"hardness": [0.1, 0.2], "retain_norm": [1.0, 1.0]},
            history_steps=[1, 2],
        ),
        Report("unlearning", 4, 4, {"avg_gap": 0.1}),
        Report("unlearning", 4, 4, history={"hardness": [0.3]}, history_steps=[3]),
    ]
    assert histories_of(reports, ("hardness", "gradient_cosine")) == {"hardness": {1: 0.1, 2: 0.2, 3: 0.3}}
