"""Columns of texts and their tokens, mapped into memory: what a worker sees is what it had when it held them."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.config.task.language import TextData
from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.documents.texts import ChosenTexts, Texts
from hamu_ray.tasks.language.encoding import token_file
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from tests.memory import apart, peak_of
from tests.tasks.test_language_data import SMALL

WORDS = ("Where does Ada live?", "In Rome.", "by the sea, far from everything", "", "\u00e9\n")
parts = st.lists(st.lists(st.sampled_from(WORDS), max_size=4), max_size=4)
CPU = torch.device("cpu")


@given(parts, st.data())
def test_texts_are_a_sequence_like_any_other(chunks: list[list[str]], data: st.DataObject) -> None:
    """Sums, slices, indices and digests are those of the same texts in one list."""
    whole = [text for chunk in chunks for text in chunk]
    texts = sum((Texts.of(chunk) for chunk in chunks), Texts())
    assert list(texts) == whole
    assert (texts == Texts.of(whole), texts.digest) == (True, Texts.of(whole).digest)
    bound = st.none() | st.integers(-len(whole) - 1, len(whole) + 1)
    start, stop = data.draw(bound), data.draw(bound)
    assert list(texts[start:stop]) == whole[start:stop]
    assert [texts[at] for at in range(-len(whole), len(whole))] == whole + whole
    with pytest.raises(IndexError):
        texts[len(whole)]
    if whole:
        chosen = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6))
        assert list(ChosenTexts(texts, np.array(chosen, np.int64))) == [whole[at] for at in chosen]


def test_the_digest_depends_on_where_a_text_ends() -> None:
    assert Texts.of(["ab", "c"]).digest != Texts.of(["a", "bc"]).digest
    assert list(Texts.repeated("x", 2001)) == ["x"] * 2001


def test_a_shuffled_data_set_is_read_in_its_order() -> None:
    rows = Dataset.from_dict({"text": list("abcdef")}).select([3, 1, 4])
    assert list(Texts.of_column(rows, "text")) == ["d", "b", "e"]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "AT_ONCE", 50)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(SMALL, Texts.of(WORDS), None)


@pytest.fixture
def encoder_for(tokenizer: Any) -> Callable[..., Encoder]:
    return lambda **values: Encoder(tokenizer, TextData(path="x", **values))


@pytest.fixture(scope="module")
def answers() -> Texts:
    generator = np.random.default_rng(0)
    return Texts.of(" ".join(generator.choice(WORDS[:3], 30)) for _ in range(120))


def tensors_of(sequences: Sequences) -> list[torch.Tensor]:
    return [
        getattr(sequences, name)
        for name in ("tokens", "window_prompts", "window_answers", "windows", "dropped")
    ]


@pytest.mark.parametrize("values", [{"max_length": 24}, {"windows": {"length": 32, "stride": 16}}])
def test_mapped_tokens_are_those_in_memory(
    answers: Texts,
    encoder_for: Callable[..., Encoder],
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are encoded once, and found again by what determines them."""
    questions = Texts.repeated("Where?", len(answers))
    encoder = encoder_for(**values)
    in_memory = encoded_sequences(encoder, questions, answers, CPU)
    written = encoded_sequences(encoder, questions, answers, CPU, content="all", cache=tmp_path)

    def again(*_: Any) -> Iterator[Any]:
        raise AssertionError("encoded again")

    monkeypatch.setattr(token_file, "write_tokens", again)
    mapped = encoded_sequences(encoder_for(**values), questions, answers, CPU, content="all", cache=tmp_path)
    for one, other, third in zip(*map(tensors_of, (in_memory, written, mapped)), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)
    assert in_memory.digest == mapped.digest
    for change in ({"content": "others"}, {"encoder": encoder_for(template="plain", prompt="{question}")}):
        given = {"encoder": encoder, "content": "all", **change}
        with pytest.raises(AssertionError, match="encoded again"):
            encoded_sequences(
                given["encoder"], questions, answers, CPU, content=given["content"], cache=tmp_path
            )


def peaks_of_encoding(many: Texts, cache: Path) -> tuple[int, int, int]:
    """Return the bytes allocated by encoding without a cache, into one, and by mapping what is there."""
    token_file.AT_ONCE = 50
    encoder = Encoder(load_tokenizer(SMALL, Texts.of(WORDS), None), TextData(path="x"))
    questions = Texts.repeated("Where?", len(many))

    def encode(cache: Path | None) -> None:
        sequences = encoded_sequences(encoder, questions, many, CPU, content="all", cache=cache)
        sequences.batch(torch.arange(0, len(many), 100))

    in_memory, writing, mapping = (peak_of(partial(encode, given)) for given in (None, cache, cache))
    return in_memory, writing, mapping


def test_no_more_than_a_chunk_of_tokens_is_in_memory(answers: Texts, tmp_path: Path) -> None:
    """A worker that maps the file allocates next to nothing; the one that writes it, a fraction of the whole."""
    in_memory, writing, mapping = apart(peaks_of_encoding, Texts(answers.arrays * 5), tmp_path)
    assert writing < 0.5 * in_memory
    assert mapping < 0.3 * in_memory


def test_a_folder_that_cannot_be_written_costs_only_the_cache(
    answers: Texts, encoder_for: Callable[..., Encoder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    encoder = encoder_for()
    few = answers[:3]
    with caplog.at_level(logging.WARNING, logger=token_file.__name__):
        found = encoded_sequences(encoder, few, few, CPU, cache=tmp_path / "file")
    assert "tokens are not cached" in caplog.text
    assert len(found) == 3


def test_the_number_of_a_text_is_its_own_in_every_chunk(
    answers: Texts, encoder_for: Callable[..., Encoder]
) -> None:
    """An error names the text, not its place within what is encoded at once."""
    questions = Texts.repeated("Where?", 60) + Texts.of(["Where? " * 400])
    encoder = encoder_for()
    with pytest.raises(ValueError, match="the prompt of example 60 has"):
        encoded_sequences(encoder, questions, answers[:61], CPU)
