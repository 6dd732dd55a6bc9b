"""Texts as they lie on a worker's device: tokens end to end, padded when they are used."""

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
from hamu_ray.tasks.language.tokenizer import Encoded, Encoder, load_tokenizer


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts side by side, padded on the right, and where their answers are.

    A causal model's answer tokens never look at padding that follows them, so no mask is needed.
    """

    tokens: Tensor
    """int64 ``(texts, longest)``."""
    rows: Tensor
    """int64 ``(items,)``: the text that each answer token is in, not decreasing."""
    columns: Tensor
    """int64 ``(items,)``: the position that predicts it, the one before its own."""
    labels: Tensor
    """int64 ``(items,)``: the answer tokens."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Prompts with their answers. All but the tokens stays on the CPU, so that nothing waits for a GPU."""

    tokens: Tensor
    """int64 ``(all tokens,)`` on the device: text after text."""
    prompts: Tensor
    """int64 ``(texts,)``: tokens of each prompt."""
    answers: Tensor
    """int64 ``(texts,)``: tokens of each answer, at least 1."""
    pad: int

    @classmethod
    def of(cls, encoded: Sequence[Encoded], pad: int, device: torch.device) -> "Sequences":
        """Lay texts end to end."""
        flat = [token for text in encoded for token in (*text.prompt, *text.answer)]
        prompts = torch.tensor([len(text.prompt) for text in encoded], dtype=torch.int64)
        answers = torch.tensor([len(text.answer) for text in encoded], dtype=torch.int64)
        return cls(torch.tensor(flat, dtype=torch.int64, device=device), prompts, answers, pad)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.prompts)

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each text, int64 ``(texts,)``."""
        return self.prompts + self.answers

    @cached_property
    def starts(self) -> Tensor:
        """Where each text starts, int64 ``(texts,)``."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all tokens, and of what are prompts and answers."""
        content = hashlib.sha256()
        for tensor in (self.tokens, self.prompts, self.answers):
            content.update(tensor.cpu().numpy().data)
        return content.hexdigest()

    def batch(self, numbers: Tensor) -> Batch:
        """Return these texts (int64 ``(k,)``, CPU) padded to the longest of them."""
        device = self.tokens.device
        starts, lengths, prompts = self.starts[numbers], self.lengths[numbers], self.prompts[numbers]
        answers = self.answers[numbers]
        rows = torch.repeat_interleave(answers)
        within = torch.arange(len(rows)) - (answers.cumsum(0) - answers)[rows]
        columns = prompts[rows] - 1 + within
        places = torch.arange(int(lengths.max()))
        # Of padding, the last token's place is looked up; what is there is replaced.
        found = starts[:, None] + torch.minimum(places, lengths[:, None] - 1)
        is_padding = places >= lengths[:, None]
        tokens = self.tokens[to_device(found, device)].masked_fill_(to_device(is_padding, device), self.pad)
        labels = self.tokens[to_device(starts[rows] + columns + 1, device)]
        return Batch(tokens, to_device(rows, device), to_device(columns, device), labels)

    def prompt_batch(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prompts of these texts padded on the left, and the mask that leaves padding out.

        Both are int64 ``(k, longest)``, for generation.
        """
        device = self.tokens.device
        starts, prompts = self.starts[numbers], self.prompts[numbers]
        places = torch.arange(int(prompts.max())) - (prompts.max() - prompts)[:, None]
        is_padding = to_device(places < 0, device)
        tokens = self.tokens[to_device(starts[:, None] + places.clamp(min=0), device)]
        return tokens.masked_fill_(is_padding, self.pad), (~is_padding).long()


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device; a GPU takes it from pinned memory, unawaited."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@dataclass(frozen=True, eq=False)
class EncodedChoices:
    """An evaluation set, or some of its questions."""

    questions: tuple[str, ...]
    truths: tuple[str, ...]
    """The answers as text."""
    answers: Sequences
    right: Sequences
    """What the wrong answers are compared with."""
    wrong: Sequences
    """The wrong answers, question after question."""
    counts: NDArray[np.int64]
    """int64 ``(questions,)``: wrong answers to each."""

    def positions(self, questions: Collection[str] | None) -> tuple[Tensor, Tensor]:
        """Return where these questions (None: all) are, and where their wrong answers are: int64, CPU."""
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
    train: Sequences
    test: Sequences
    choices: dict[str, EncodedChoices]
    """The evaluation sets by name."""


@dataclass(eq=False)
class LanguageData:
    """Text data of a worker: what is loaded stays for all its trials, in the tokens of each model that asks.

    Everything is loaded when it is first asked for: the tokens depend on the model, and the split to forget is
    the forget set's to name.
    """

    config: TextSection
    cache: Path | None = None
    """Folder of what takes long to prepare."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    resident: dict[Any, Any] = field(default_factory=dict)
    """What stays: corpora, encodings and base models by what they depend on."""

    task: ClassVar[str] = "language"

    def to(self, device: torch.device) -> "LanguageData":
        """Return the data on a device."""
        return LanguageData(self.config, self.cache, device)

    def corpus(self, forget: ForgetText) -> Corpus:
        """Return the texts, with the split that is to be forgotten if it is one; raises `ValueError`."""
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
    train, test = corpus.train, corpus.test
    return Encodings(
        corpus,
        encoder,
        sequences(train.questions, train.answers),
        sequences(test.questions, test.answers),
        choices,
    )
