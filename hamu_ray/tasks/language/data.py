"""Text data of a worker: corpora, tokenized for each model that is trained on them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamu_ray.config.task.language import ForgetSplit, TextSection
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.tasks.language.documents.corpus import Corpus, ForgetText, load_corpus
from hamu_ray.tasks.language.documents.published import Probe
from hamu_ray.tasks.language.documents.rows import Choices
from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from hamu_ray.tasks.language.probes import EncodedProbe, probe_encoder


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
    probes: dict[str, EncodedProbe]
    """What a published corpus asks besides, by metric."""


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
            self.resident[key] = encoded(corpus, Encoder(tokenizer, self.config), self.device, self.cache)
        return self.resident[key]


def encoded(corpus: Corpus, encoder: Encoder, device: torch.device, cache: Path | None = None) -> Encodings:
    """Return a corpus in an encoder's tokens, on a device; see `encoded_sequences` for the cache."""
    rows = corpus.rows
    texts = encoded_sequences(
        encoder, rows.questions, rows.answers, device, content=corpus.fingerprint, cache=cache
    )

    def sequences(questions: Sequence[str], answers: Sequence[str]) -> Sequences:
        return encoded_sequences(encoder, questions, answers, device)

    choices = {name: _encoded_choices(found, sequences) for name, found in corpus.choices.items()}
    probes = {name: _encoded_probe(probe, encoder, device) for name, probe in corpus.probes.items()}
    return Encodings(corpus, encoder, texts, choices, probes)


def _encoded_probe(probe: Probe, encoder: Encoder, device: torch.device) -> EncodedProbe:
    of_kind, rows = probe_encoder(encoder, probe.kind), probe.rows
    return EncodedProbe(probe, encoded_sequences(of_kind, rows.questions, rows.answers, device))


def _encoded_choices(
    choices: Choices, sequences: Callable[[Sequence[str], Sequence[str]], Sequences]
) -> EncodedChoices:
    asked, truths = tuple(choices.rows.questions), tuple(choices.rows.answers)
    repeated = [question for question, wrong in zip(asked, choices.wrong, strict=True) for _ in wrong]
    return EncodedChoices(
        questions=asked,
        truths=truths,
        answers=sequences(asked, truths),
        right=sequences(asked, choices.right),
        wrong=sequences(repeated, [answer for answers in choices.wrong for answer in answers]),
        counts=np.array([len(answers) for answers in choices.wrong]),
    )
