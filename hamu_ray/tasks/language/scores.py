"""What a language model says of many texts: scores of their answers and answers of its own, over all workers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hamu_ray.metrics.tokens import COLUMNS, TokenScores, score_tokens
from hamu_ray.tasks.language.data import Batch, Sequences
from hamu_ray.tasks.task import Share

Forward = Callable[[Batch], Tensor]
"""A batch to the logits of its items ``(items, vocabulary)``."""


def answer_scores(
    forward: Forward, texts: Sequences, numbers: Tensor, batch_size: int, share: Share
) -> TokenScores:
    """Return the scores of the answers of these texts (int64, CPU), in their order, on every rank.

    Each rank computes its part, in batches of texts of like lengths. What is said of a text depends on the others
    of its batch by rounding alone.
    """
    mine = numbers.tensor_split(share.size)[share.rank]
    parts: dict[int, Tensor] = {}
    for places in _batches(texts, mine, batch_size):
        batch = texts.batch(mine[places])
        rows = score_tokens(forward(batch), batch.labels)
        lengths = texts.answers[mine[places]].tolist()
        parts.update(zip(places.tolist(), rows.split(lengths), strict=True))
    empty = torch.empty(0, COLUMNS, dtype=torch.float64, device=texts.tokens.device)
    rows = torch.cat([empty, *(parts[place] for place in range(len(mine)))])
    return TokenScores.from_rows(share.gather_rows(rows).cpu().numpy(), texts.answers[numbers].numpy())


def greedy_answers(
    model: Any, texts: Sequences, numbers: Tensor, batch_size: int, new_tokens: int, share: Share
) -> np.ndarray:
    """Return the tokens that the model finds likeliest after each prompt, int64 ``(texts, new_tokens)``.

    Behind the end of an answer there is padding. Each rank generates its part.
    """
    mine = numbers.tensor_split(share.size)[share.rank]
    found = torch.full((len(mine), new_tokens), texts.pad, dtype=torch.int64, device=texts.tokens.device)
    for places in _batches(texts, mine, batch_size):
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
            pad_token_id=texts.pad,
            use_cache=True,
        )[:, tokens.shape[1] :]
        found[places.to(found.device), : answers.shape[1]] = answers
    return share.gather_rows(found).cpu().numpy()


def by_length(texts: Sequences, numbers: Tensor) -> Tensor:
    """Return the places of these texts from the shortest to the longest, int64 ``(k,)``; equals in their order."""
    return texts.lengths[numbers].argsort(stable=True)


def _batches(texts: Sequences, numbers: Tensor, size: int) -> list[Tensor]:
    """Return the places of these texts in batches of like lengths; none where there are no texts."""
    return [places for places in by_length(texts, numbers).split(size) if len(places)]
