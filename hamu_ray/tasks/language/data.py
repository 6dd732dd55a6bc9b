"""Tokenized texts on a worker's device: tokens are concatenated, and padded on use."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamu_ray.config.language import ForgetSplit, LanguageModelConfig, TextSection
from hamu_ray.tasks.language.corpus import Corpus, ForgetText, load_corpus
from hamu_ray.tasks.language.encoding.encoder import Encoded, Encoder
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of windows, padded on the right, and the positions of their answer tokens.

    No attention mask is needed, because a causal model's answer tokens do not attend to the padding after them.
    """

    tokens: Tensor
    """int64 ``(windows, longest)``."""
    rows: Tensor
    """int64 ``(items,)``: the window of each answer token, not decreasing."""
    columns: Tensor
    """int64 ``(items,)``: the position that predicts the token, which is the one before it."""
    labels: Tensor
    """int64 ``(items,)``: the answer tokens."""
    texts: Tensor
    """int64 ``(items,)``: the text of each answer token, by its index in the batch, not decreasing."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Prompts with their answers, in windows. All but the tokens stays on the CPU, so nothing synchronises."""

    tokens: Tensor
    """int64 ``(all tokens,)`` on the device: the concatenated windows of all texts."""
    window_prompts: Tensor
    """int64 ``(windows,)``: number of tokens in each window that are not predicted, at least 1."""
    window_answers: Tensor
    """int64 ``(windows,)``: number of predicted tokens in each window, at least 1."""
    windows: Tensor
    """int64 ``(texts,)``: number of windows of each text, at least 1."""
    dropped: Tensor
    """int64 ``(texts,)``: number of tokens of each answer that are in no window."""
    pad: int

    @classmethod
    def of(cls, encoded: Sequence[Encoded], pad: int, device: torch.device) -> "Sequences":
        """Concatenate texts."""
        windows = [window for text in encoded for window in text.windows]
        flat = (token for window in windows for token in (*window.prompt, *window.answer))
        return cls(
            torch.from_numpy(np.fromiter(flat, dtype=np.int64)).to(device),
            torch.tensor([len(window.prompt) for window in windows], dtype=torch.int64),
            torch.tensor([len(window.answer) for window in windows], dtype=torch.int64),
            torch.tensor([len(text.windows) for text in encoded], dtype=torch.int64),
            torch.tensor([text.dropped for text in encoded], dtype=torch.int64),
            pad,
        )

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.windows)

    @cached_property
    def prompts(self) -> Tensor:
        """Number of tokens of each text's prompt, int64 ``(texts,)``."""
        return self.window_prompts[self._first]

    @cached_property
    def answers(self) -> Tensor:
        """Number of tokens of each text's answer, over all of its windows, int64 ``(texts,)``."""
        before = torch.cat([torch.zeros(1, dtype=torch.int64), self.window_answers.cumsum(0)])
        return before[self._first + self.windows] - before[self._first]

    @cached_property
    def first_answers(self) -> Tensor:
        """Number of answer tokens in each text's first window, int64 ``(texts,)``."""
        return self.window_answers[self._first]

    @cached_property
    def lengths(self) -> Tensor:
        """Number of tokens in each text's first window, which is its longest, int64 ``(texts,)``."""
        return self._window_lengths[self._first]

    @cached_property
    def starts(self) -> Tensor:
        """Offset of each text in the tokens, int64 ``(texts,)``."""
        return self._window_starts[self._first]

    @cached_property
    def _first(self) -> Tensor:
        """Index of each text's first window."""
        return self.windows.cumsum(0) - self.windows

    @cached_property
    def _window_lengths(self) -> Tensor:
        return self.window_prompts + self.window_answers

    @cached_property
    def _window_starts(self) -> Tensor:
        return self._window_lengths.cumsum(0) - self._window_lengths

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all tokens, and of the extents of prompts, answers and windows."""
        content = hashlib.sha256()
        for tensor in (self.tokens, self.window_prompts, self.window_answers, self.windows):
            content.update(tensor.cpu().numpy().data)
        return content.hexdigest()

    def batch(self, indices: Tensor) -> Batch:
        """Return the windows of these texts, padded to the longest of them.

        ``indices`` is int64 ``(k,)``, on the CPU.
        """
        device = self.tokens.device
        texts, within_text = _spread(self.windows[indices])
        windows = self._first[indices][texts] + within_text
        starts, lengths, prompts = (
            values[windows] for values in (self._window_starts, self._window_lengths, self.window_prompts)
        )
        rows, within_answer = _spread(self.window_answers[windows])
        columns = prompts[rows] - 1 + within_answer
        places = torch.arange(int(lengths.max()))
        # Padding positions read the last token, which is replaced afterwards.
        found = starts[:, None] + torch.minimum(places, lengths[:, None] - 1)
        is_padding = places >= lengths[:, None]
        tokens = self.tokens[to_device(found, device)].masked_fill_(to_device(is_padding, device), self.pad)
        labels = self.tokens[to_device(starts[rows] + columns + 1, device)]
        return Batch(
            tokens,
            to_device(rows, device),
            to_device(columns, device),
            labels,
            to_device(texts[rows], device),
        )

    def prompt_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prompts of these texts, padded on the left, and the attention mask.

        Both are int64 ``(k, longest)``, for generation.
        """
        device = self.tokens.device
        starts, prompts = self.starts[indices], self.prompts[indices]
        places = torch.arange(int(prompts.max())) - (prompts.max() - prompts)[:, None]
        is_padding = to_device(places < 0, device)
        tokens = self.tokens[to_device(starts[:, None] + places.clamp(min=0), device)]
        return tokens.masked_fill_(is_padding, self.pad), (~is_padding).long()


def _spread(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each item's owner, and its index among the owner's ``counts`` consecutive items."""
    owners = torch.repeat_interleave(counts)
    return owners, torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device; to a GPU through pinned memory, without blocking."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@dataclass(frozen=True, eq=False)
class EncodedChoices:
    """An evaluation set, or some of its questions."""

    questions: tuple[str, ...]
    truths: tuple[str, ...]
    """The answers as text."""
    answers: Sequences
    right: Sequences
    """The answers that the wrong answers are compared with."""
    wrong: Sequences
    """The wrong answers, grouped by question."""
    counts: NDArray[np.int64]
    """int64 ``(questions,)``: number of wrong answers to each question."""

    def positions(self, questions: Collection[str] | None) -> tuple[Tensor, Tensor]:
        """Return the indices of these questions (None: all) and of their wrong answers: int64, CPU."""
        wanted = np.array(
            [questions is None or question in questions for question in self.questions], dtype=bool
        )
        return torch.from_numpy(wanted.nonzero()[0]), torch.from_numpy(
            wanted.repeat(self.counts).nonzero()[0]
        )


@dataclass(frozen=True, eq=False)
class Encodings:
    """A corpus in the tokens of one tokenizer."""

    corpus: Corpus
    encoder: Encoder
    texts: Sequences
    """All examples; the indices of a split refer to them."""
    choices: dict[str, EncodedChoices]
    """The evaluation sets by name."""


@dataclass(eq=False)
class LanguageData:
    """Text data of a worker. Everything loaded is kept for all trials, in the tokens of each model that is used.

    Data are loaded on first access, because the tokens depend on the model, and the splits on the forget set.
    """

    config: TextSection
    cache: Path | None = None
    """Folder for cached results of slow preparation steps."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    resident: dict[Any, Any] = field(default_factory=dict)
    """Cache of corpora, encodings and base models, keyed by what they depend on."""

    task: ClassVar[str] = "language"

    def to(self, device: torch.device) -> "LanguageData":
        """Return the data on a device."""
        return LanguageData(self.config, self.cache, device)

    def corpus(self, forget: ForgetText) -> Corpus:
        """Return the texts, including the forget split if the forget set is one; raises `ValueError`."""
        key = ("corpus", forget.split if isinstance(forget, ForgetSplit) else None)
        if key not in self.resident:
            self.resident[key] = load_corpus(self.config, forget)
        return self.resident[key]

    def encodings(self, forget: ForgetText, model: LanguageModelConfig) -> Encodings:
        """Return the texts in the tokens of a model; raises `ValueError`."""
        corpus = self.corpus(forget)
        key = ("encodings", corpus.fingerprint, model.name, model.vocabulary)
        if key not in self.resident:
            tokenizer = load_tokenizer(model, corpus.texts, self.cache)
            self.resident[key] = encoded(corpus, Encoder(tokenizer, self.config), self.device)
        return self.resident[key]


def encoded(corpus: Corpus, encoder: Encoder, device: torch.device) -> Encodings:
    """Return a corpus in an encoder's tokens, on a device."""

    def sequences(questions: Sequence[str], answers: Sequence[str]) -> Sequences:
        return Sequences.of(encoder.encode(questions, answers), encoder.pad, device)

    choices = {}
    for name, found in corpus.choices.items():
        asked = found.rows.questions
        repeated = [q for q, wrong in zip(asked, found.wrong, strict=True) for _ in wrong]
        wrong = [answer for answers in found.wrong for answer in answers]
        choices[name] = EncodedChoices(
            questions=asked,
            truths=found.rows.answers,
            answers=sequences(asked, found.rows.answers),
            right=sequences(asked, found.right),
            wrong=sequences(repeated, wrong),
            counts=np.array([len(answers) for answers in found.wrong]),
        )
    return Encodings(corpus, encoder, sequences(corpus.rows.questions, corpus.rows.answers), choices)
