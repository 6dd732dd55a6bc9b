"""Evaluation of a language model on what a published corpus asks besides its texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hamu_ray.metrics.benchmark_names import MUSE_MINK_PERCENT
from hamu_ray.metrics.text.benchmarks import choice_accuracy, first_answer, membership_auc, rouge_f1
from hamu_ray.metrics.text.tokens import TokenScores
from hamu_ray.tasks.language.documents.published import LETTERS, Probe
from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.scores import greedy_answers
from hamu_ray.tasks.task import Share

Scores = Callable[[Sequences, Tensor], TokenScores]
"""Returns the scores of the answers of texts, by their indices."""


@dataclass(frozen=True, eq=False)
class EncodedProbe:
    """A probe in the tokens of one tokenizer."""

    probe: Probe
    texts: Sequences


def probe_encoder(encoder: Encoder, kind: str) -> Encoder:
    """Return the encoder of a kind of probe, in the same tokens: of texts, or of prompts that are whole texts."""
    if kind == "texts":
        return encoder
    changes = {"question_column": "question", "template": "plain", "prompt": "{question}"}
    return Encoder(encoder.tokenizer, encoder.config.model_copy(update=changes))


def probe_measures(
    probes: Mapping[str, EncodedProbe],
    model: Any,
    scores: Scores,
    encoder: Encoder,
    batch_size: int,
    share: Share,
) -> dict[str, float]:
    """Return the metrics of all probes, in eval mode and without gradients; every rank must call it."""
    return {
        name: _measured(encoded, model, scores, encoder, batch_size, share)
        for name, encoded in probes.items()
    }


def _measured(
    encoded: EncodedProbe, model: Any, scores: Scores, encoder: Encoder, batch_size: int, share: Share
) -> float:
    probe, texts = encoded.probe, encoded.texts
    every = torch.arange(len(texts))
    if probe.kind == "texts":
        members, others = every.split([probe.members, len(every) - probe.members])
        return membership_auc(scores(texts, members), scores(texts, others), MUSE_MINK_PERCENT)
    if probe.kind == "options":
        counts = [len(LETTERS)] * len(probe.right)
        return choice_accuracy(scores(texts, every), counts, probe.right)
    tokens = greedy_answers(model, texts, every, batch_size, probe.new_tokens, encoder.end, share)
    # Not stripped: a blank line ends an answer, also at its beginning.
    generated = [encoder.tokenizer.decode(row, skip_special_tokens=True) for row in tokens]
    if probe.kind == "answers":
        return rouge_f1([first_answer(text) for text in generated], list(probe.rows.answers))
    return rouge_f1(generated, _beginnings(texts, probe.new_tokens, encoder))


def _beginnings(texts: Sequences, tokens: int, encoder: Encoder) -> Sequence[str]:
    """Return the first tokens of each answer as text, from all of its windows."""
    return [encoder.decode(texts.answer(text)[:tokens].tolist()) for text in range(len(texts))]
