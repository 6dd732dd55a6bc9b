"""Text data of a worker: corpora, tokenized for each model that is trained on them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamu_ray.config.language import ForgetSplit, LanguageModelConfig, TextSection
from hamu_ray.tasks.language.corpus import Corpus, ForgetText, load_corpus
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from hamu_ray.tasks.language.sequences import Sequences


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
