from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.config.task.forget import ForgetIndices, ForgetRandom
from hamu_ray.config.task.vision import ForgetClass, ForgetConfig
from hamu_ray.tasks.vision.forget import ForgetSplit, split_examples

CLASSES = ("cat", "dog", "owl")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 30, 50]))


def split(config: ForgetConfig, seed: int = 41) -> ForgetSplit:
    return split_examples(LABELS, CLASSES, config, seed)


def error_of(config: ForgetConfig) -> str:
    with pytest.raises(ValueError) as caught:
        split(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


pools = st.sampled_from(["other_classes", "rest"])
configs = st.one_of(
    st.builds(ForgetClass, label=st.sampled_from([0, 1, 2, *CLASSES]), rho=st.floats(0, 1), swap_from=pools),
    st.builds(ForgetRandom, share=st.floats(0.01, 0.99)),
)


@given(configs, st.integers(0, 2**31))
def test_parts_are_sorted_disjoint_and_cover(config: ForgetConfig, seed: int) -> None:
    parts = split(config, seed)
    for part in (parts.retain, parts.forget):
        assert part.dtype == np.int64
        assert len(part) > 0
        assert (np.diff(part) > 0).all()
    assert np.array_equal(np.sort(np.concatenate([parts.retain, parts.forget])), np.arange(100))


@given(st.sampled_from([0, 1, 2]), st.floats(0, 1, exclude_max=True), st.integers(0, 2**31))
def test_a_share_of_the_class_is_swapped(label: int, rho: float, seed: int) -> None:
    parts = split(ForgetClass(label=label, rho=rho), seed)
    of_class = int((label == LABELS).sum())
    assert len(parts.forget) == of_class
    assert int((LABELS[parts.forget] != label).sum()) == round(rho * of_class)
    assert parts.forgotten_class == label


@given(pools, st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 2**31))
def test_swaps_nest(pool: Literal["other_classes", "rest"], one: float, other: float, seed: int) -> None:
    smaller, larger = (
        split(ForgetClass(rho=rho, swap_from=pool), seed).forget for rho in sorted((one, other))
    )
    swapped_in = {int(at) for at in smaller if LABELS[at] != 0}
    assert swapped_in <= {int(at) for at in larger}


def test_images_taken_out_may_come_back_where_all_the_rest_is_drawn_from() -> None:
    """At rho 0.5, 25 of class 2's 50 images stay; of the other 75 images, a third were just removed from the class."""
    of_class = np.concatenate(
        [
            LABELS[split(ForgetClass(label=2, rho=0.5, swap_from="rest"), seed).forget] == 2
            for seed in range(400)
        ]
    )
    assert len(of_class) == 400 * 50
    assert of_class.mean() == pytest.approx((25 + 25 / 3) / 50, abs=0.01)


@given(st.integers(0, 2**31))
def test_draws_from_the_rest_end_in_the_draw_of_rho_one(seed: int) -> None:
    almost = split(ForgetClass(label=2, rho=0.98, swap_from="rest"), seed).forget
    drawn = split(ForgetClass(label=2, rho=1), seed).forget
    assert len(set(almost.tolist()) & set(drawn.tolist())) >= 49


@given(pools, st.sampled_from([0.0, 1.0]), st.integers(0, 2**31))
def test_where_swaps_are_drawn_from_matters_in_between_alone(
    pool: Literal["other_classes", "rest"], rho: float, seed: int
) -> None:
    expected = split(ForgetClass(rho=rho), seed).forget
    assert np.array_equal(split(ForgetClass(rho=rho, swap_from=pool), seed).forget, expected)


def test_rho_one_draws_from_everything() -> None:
    drawn = np.concatenate([split(ForgetClass(rho=1), seed).forget for seed in range(200)])
    assert len(drawn) == 200 * 20
    shares = np.bincount(LABELS[drawn]) / len(drawn)
    assert shares.tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.03)
    assert split(ForgetClass(rho=1)).forgotten_class is None


@pytest.mark.parametrize("config", [ForgetClass(rho=0.5), ForgetClass(rho=1), ForgetRandom(share=0.3)])
def test_the_seed_decides(config: ForgetConfig) -> None:
    assert np.array_equal(split(config, 1).forget, split(config, 1).forget)
    assert not np.array_equal(split(config, 1).forget, split(config, 2).forget)


def test_class_by_name_and_by_number() -> None:
    assert np.array_equal(split(ForgetClass(label="owl")).forget, split(ForgetClass(label=2)).forget)


@pytest.mark.parametrize("label", [3, -1, "wolf", "0"])
def test_unknown_class_lists_the_classes(label: int | str) -> None:
    assert error_of(ForgetClass(label=label)) == (
        f"forget.label: there is no class {label!r}; the classes are 0=cat, 1=dog, 2=owl"
    )


def test_class_without_images() -> None:
    with pytest.raises(ValueError, match="no training image has class 3"):
        split_examples(LABELS, (*CLASSES, "yak"), ForgetClass(label=3), 0)


def test_nothing_to_retain() -> None:
    with pytest.raises(ValueError, match="none is left to retain"):
        split_examples(np.zeros(5, dtype=np.int64), ("cat",), ForgetClass(), 0)


def test_share_of_nothing() -> None:
    assert "0.001 of 100 training images is empty" in error_of(ForgetRandom(share=0.001))


def test_not_enough_others_to_swap_in() -> None:
    with pytest.raises(ValueError, match="swaps 8 of the class's 10 images, but the other classes have 2"):
        split_examples(np.repeat([0, 1], [10, 2]), ("cat", "dog"), ForgetClass(rho=0.8), 0)


def test_positions_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "forget.txt"
    path.write_text("7\n\n 3 \n99\n")
    parts = split(ForgetIndices(path=str(path)))
    assert parts.forget.tolist() == [3, 7, 99]
    assert len(parts.retain) == 97
    assert parts.forgotten_class is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1\n2\nfour\n", "line 3: 'four' is not an index (0, 1, ...)"),
        ("1\n-2\n", "line 2: '-2' is not an index (0, 1, ...)"),
        ("1\n²\n", "line 2: '²' is not an index (0, 1, ...)"),
        ("100\n", "line 1: there is no row 100; the 100 rows of the training images have 0 to 99"),
        ("5\n\n5\n", "line 3: 5 is already on line 1"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "forget.txt"
    path.write_text(text)
    assert error_of(ForgetIndices(path=str(path))) == f"forget.path: {path}, {problem}"


def test_file_with_nothing_everything_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "forget.txt"
    assert "cannot be read" in error_of(ForgetIndices(path=str(path)))
    path.write_text("\n")
    assert "is empty; write an index" in error_of(ForgetIndices(path=str(path)))
    path.write_text("\n".join(map(str, range(100))))
    assert "none is left to retain" in error_of(ForgetIndices(path=str(path)))
