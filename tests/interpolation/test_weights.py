"""The weights between two models, and the search along their line."""

import math

import pytest
import torch
from torch import Tensor

from hamu_ray.interpolation.search import cross, inside
from hamu_ray.interpolation.weights import between, moves_statistics

A, B = "layer.lora_A.weight", "layer.lora_B.weight"


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


def test_floats_are_on_the_line_and_the_ends_are_exact() -> None:
    first = {"w": drawn(4, 3), "n": torch.tensor(3), "half": drawn(5).bfloat16()}
    second = {"w": drawn(4, 3), "n": torch.tensor(8), "half": drawn(5).bfloat16()}
    middle = between(first, second, 0.25)
    torch.testing.assert_close(middle["w"], 0.75 * first["w"] + 0.25 * second["w"])
    assert middle["n"] == 8
    assert middle["half"].dtype is torch.bfloat16
    for at, end in ((0.0, first), (1.0, second)):
        assert all(torch.equal(between(first, second, at)[name], end[name]) for name in ("w", "half"))


@pytest.mark.parametrize("names", [(A, B), ("e.lora_embedding_A", "e.lora_embedding_B")])
@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("untouched", ["first", "second", "neither"])
def test_the_product_of_an_adapter_is_on_the_line(at: float, untouched: str, names: tuple[str, str]) -> None:
    """Interpolating both factors would give a parabola."""
    a, b = names
    first, second = ({a: drawn(2, 6), b: drawn(5, 2)} for _ in range(2))
    if untouched == "neither":
        second[a] = first[a].clone()
    else:
        {"first": first, "second": second}[untouched][b].zero_()
    found = between(first, second, at)
    expected = (1 - at) * first[b] @ first[a] + at * second[b] @ second[a]
    torch.testing.assert_close(found[b] @ found[a], expected)
    assert found.keys() == first.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "the sum of two has a higher rank"),
        ({"layer.lora_magnitude_vector": torch.ones(5)}, "DoRA"),
        ({"other": torch.ones(2)}, "differ in the shape of other"),
        ({A: torch.ones(3, 6)}, "differ in the shape of layer.lora_A"),
    ],
)
def test_models_with_nothing_between_them(changes: dict[str, Tensor], words: str) -> None:
    first, second = ({A: drawn(2, 6), B: drawn(5, 2)} for _ in range(2))
    if "layer.lora_magnitude_vector" in changes:
        first |= changes
    with pytest.raises(ValueError, match=words):
        between(first, {**second, **changes}, 0.5)


def test_statistics_that_move() -> None:
    first = {"bn.running_mean": drawn(3), "w": drawn(2)}
    assert not moves_statistics(first, {**first, "w": drawn(2)})
    assert moves_statistics(first, {**first, "bn.running_mean": drawn(3)})


@pytest.mark.parametrize("meets", [0.0, 1.0])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.73])
def test_the_search_ends_just_within_the_bound(meets: float, place: float) -> None:
    seen = []

    def shortfall(at: float) -> float:
        seen.append(at)
        return (at - place) * (1 if meets == 0 else -1)

    found = cross(shortfall, meets, 1 - meets)
    assert found is not None
    assert -0.002 <= shortfall(found) <= 0
    assert len(seen) <= 10


def test_a_cliff_and_a_line_that_meets_the_bound_only_at_its_end() -> None:
    cliff = cross(lambda at: 0.4 if at > 0.3 else -0.2, 0.0, 1.0)
    assert cliff == pytest.approx(0.3, abs=2**-11)
    assert cross(lambda at: math.inf, 0.0, 1.0) is None


def test_a_place_between_ends_that_each_miss_another_bound() -> None:
    seen = []

    def shortfalls(at: float, low: float = 0.6, high: float = 0.7) -> list[float]:
        seen.append(at)
        return [low - at, at - high]

    found = inside(shortfalls, ({0}, {1}))
    assert found is not None
    assert 0.6 <= found <= 0.7
    assert len(seen) <= 4
    seen.clear()
    assert inside(lambda at: shortfalls(at, 0.7, 0.6), ({0}, {1})) is None
    assert len(seen) <= 5, "it ends where both are missed"
