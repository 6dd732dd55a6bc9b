"""Near duplicates against the similarity of every pair."""

from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.tasks.overlap import NEAR, equal_matches, shingles, similarity, text_matches

words = st.lists(st.sampled_from([f"w{n}" for n in range(9)]), max_size=12).map(" ".join)


@given(st.lists(words, min_size=1, max_size=5), st.lists(words, max_size=5))
def test_what_is_yielded_is_near_and_what_is_equal_is_yielded(forget: list[str], others: list[str]) -> None:
    found = {match.other: match for match in text_matches(forget, others)}
    for number, text in enumerate(others):
        best = max(similarity(shingles(text), shingles(other)) for other in forget)
        if number in found:
            match = found[number]
            assert match.similarity == similarity(shingles(text), shingles(forget[match.forget])) >= NEAR
        assert best < 1 or found[number].similarity == 1


def test_near_duplicates_are_found_and_related_texts_are_not() -> None:
    long = [f"{n} word{n}" for n in range(100)]
    text, near, half = (
        " ".join(long),
        " ".join([*long, "and", "more"]),
        " ".join([*long[:60], *"abcdefghij" * 4]),
    )
    matches = list(text_matches(["something else", text], [half, near, text.upper().replace(" ", "\n")]))
    assert [(match.forget, match.other) for match in matches] == [(1, 1), (1, 2)]
    assert matches[0].similarity < matches[1].similarity == 1


def test_equal_contents() -> None:
    assert [(m.forget, m.other) for m in equal_matches([b"a", b"b", b"a"], [b"c", b"a", b"b"])] == [
        (0, 1),
        (1, 2),
    ]
