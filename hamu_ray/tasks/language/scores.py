"""Outputs of a language model on many texts, over all workers: scores of given answers, and generated answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.metrics.text.tokens import COLUMNS, TokenScores, score_tokens
from hamu_ray.tasks.language.documents.sequences import Batch, Sequences
from hamu_ray.tasks.task import Share

Forward = Callable[[Batch], Tensor]
"""Maps a batch to the logits of its items ``(items, vocabulary)``."""


def answer_logits(model: Any, batch: Batch) -> Tensor:
    """Return the logits of the answer tokens only, ``(items, vocabulary)``, in the precision of the forward pass.

    Only positions that predict an answer token pass through the output layer, which for long prompts and large
    vocabularies saves most of its compute and memory.
    """
    with rows_at(model.get_output_embeddings(), batch):
        return model(input_ids=batch.tokens, use_cache=False).logits[0]


@contextmanager
def rows_at(head: nn.Module, batch: Batch) -> Iterator[None]:
    """Within this context, the output layer receives only the hidden states of a batch's items, as one long text."""

    def gathered(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = inputs
        return (hidden[batch.rows, batch.columns].unsqueeze(0), *others)

    hook = head.register_forward_pre_hook(gathered)
    try:
        yield
    finally:
        hook.remove()


def answer_scores(
    forward: Forward, texts: Sequences, indices: Tensor, batch_size: int, share: Share
) -> TokenScores:
    """Return the scores of the answers of these texts (int64, CPU), in their order, on every rank.

    Each rank computes its part, in batches of texts of similar lengths. The scores of a text depend on the rest of its
    batch only by rounding.
    """
    mine = indices.tensor_split(share.size)[share.rank]
    parts: dict[int, Tensor] = {}
    for places in grouped(texts, mine, batch_size):
        batch = texts.batch(mine[places])
        rows = score_tokens(forward(batch), batch.labels)
        lengths = texts.answers[mine[places]].tolist()
        parts.update(zip(places.tolist(), rows.split(lengths), strict=True))
    empty = torch.empty(0, COLUMNS, dtype=torch.float64, device=texts.device)
    rows = torch.cat([empty, *(parts[place] for place in range(len(mine)))])
    return TokenScores.from_rows(share.gather_rows(rows).cpu().numpy(), texts.answers[indices].numpy())


def greedy_answers(
    model: Any,
    texts: Sequences,
    indices: Tensor,
    batch_size: int,
    new_tokens: int,
    end: int,
    share: Share,
) -> np.ndarray:
    """Return the greedy continuation of each prompt, int64 ``(texts, new_tokens)``.

    An answer ends with the token ``end``, or with an end token of the model's own configuration, and is followed by
    padding. Generation stops at the model's context length. Each rank generates its part.
    """
    mine = indices.tensor_split(share.size)[share.rank]
    found = torch.full((len(mine), new_tokens), texts.pad, dtype=torch.int64, device=texts.device)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(indices):
        new_tokens = min(new_tokens, context - int(texts.prompts[indices].max()))
    for places in grouped(texts, mine, batch_size):
        tokens, mask = texts.prompt_batch(mine[places])
        answers = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=_ends(model, end),
            pad_token_id=texts.pad,
            use_cache=True,
        )[:, tokens.shape[1] :]
        found[places.to(found.device), : answers.shape[1]] = answers
    return share.gather_rows(found).cpu().numpy()


def _ends(model: Any, end: int) -> list[int]:
    """Return the token that answers were trained to end with, and those of the model's configuration."""
    own = model.generation_config.eos_token_id
    return sorted({end, *(own if isinstance(own, list) else [own] if own is not None else [])})


def grouped(texts: Sequences, indices: Tensor, size: int) -> list[Tensor]:
    """Return the indices of these texts in groups of similar lengths, int64 each; no groups if there are no texts.

    A group has at most ``size`` windows, unless a single text has more.
    """
    places = texts.lengths[indices].argsort(stable=True)
    ends = texts.windows[indices[places]].cumsum(0).tolist()
    sizes: list[int] = []
    before = 0
    for place, end in enumerate(ends):
        if not sizes or (end - before > size and sizes[-1]):
            sizes.append(0)
            before = ends[place - 1] if place else 0
        sizes[-1] += 1
    return list(places.split(sizes)) if sizes else []
