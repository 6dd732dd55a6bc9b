"""Tokenized texts: tokens are concatenated, and padded on use."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


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
    """Prompts with their answers, in windows. All tensors are on the CPU, so that nothing synchronises; they may be a
    file that is mapped into memory. Batches are copied to the device.
    """

    tokens: Tensor
    """int64 ``(all tokens,)``: the concatenated windows of all texts."""
    window_prompts: Tensor
    """int64 ``(windows,)``: number of tokens in each window that are not predicted, at least 1."""
    window_answers: Tensor
    """int64 ``(windows,)``: number of predicted tokens in each window, at least 1."""
    windows: Tensor
    """int64 ``(texts,)``: number of windows of each text, at least 1."""
    dropped: Tensor
    """int64 ``(texts,)``: number of tokens of each answer that are in no window."""
    pad: int
    device: torch.device
    """Device of the batches."""

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
            content.update(tensor.numpy().data)
        return content.hexdigest()

    def answer(self, text: int) -> Tensor:
        """Return the tokens of a text's answer from all of its windows, int64 ``(answers,)``."""
        first = int(self._first[text])
        own = slice(first, first + int(self.windows[text]))
        ends = (self._window_starts[own] + self._window_lengths[own]).tolist()
        counts = self.window_answers[own].tolist()
        return torch.cat([self.tokens[end - count : end] for end, count in zip(ends, counts, strict=True)])

    def batch(self, indices: Tensor) -> Batch:
        """Return the windows of these texts, padded to the longest of them.

        ``indices`` is int64 ``(k,)``, on the CPU.
        """
        texts, within_text = _spread(self.windows[indices])
        windows = self._first[indices][texts] + within_text
        starts, lengths, prompts = (
            values[windows] for values in (self._window_starts, self._window_lengths, self.window_prompts)
        )
        rows, within_answer = _spread(self.window_answers[windows])
        columns = prompts[rows] - 1 + within_answer
        places = torch.arange(int(lengths.max()))
        # Padding positions read the last token, which is replaced afterwards.
        tokens = self.tokens[starts[:, None] + torch.minimum(places, lengths[:, None] - 1)]
        tokens.masked_fill_(places >= lengths[:, None], self.pad)
        labels = self.tokens[starts[rows] + columns + 1]
        return Batch(*(to_device(part, self.device) for part in (tokens, rows, columns, labels, texts[rows])))

    def prompt_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prompts of these texts, padded on the left, and the attention mask.

        Both are int64 ``(k, longest)``, for generation.
        """
        starts, prompts = self.starts[indices], self.prompts[indices]
        places = torch.arange(int(prompts.max())) - (prompts.max() - prompts)[:, None]
        is_padding = places < 0
        tokens = self.tokens[starts[:, None] + places.clamp(min=0)].masked_fill_(is_padding, self.pad)
        return to_device(tokens, self.device), to_device((~is_padding).long(), self.device)


def _spread(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each item's owner, and its index among the owner's ``counts`` consecutive items."""
    owners = torch.repeat_interleave(counts)
    return owners, torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device; to a GPU through pinned memory, without blocking."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
