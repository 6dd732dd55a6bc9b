"""Tokens of many texts in a file that all workers of a machine map into memory; one of them encodes the texts."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.documents.texts import AT_ONCE
from hamu_ray.tasks.language.encoding.encoder import Encoded, Encoder
from hamu_ray.tasks.models.hub import one_line
from hamu_ray.tasks.prepared_file import write_once

logger = logging.getLogger(__name__)

FORMAT = 1
"""Part of every file's name: increase it when the format or the encoding changes, so that old files are not used."""


def encoded_sequences(
    encoder: Encoder,
    questions: Sequence[str],
    answers: Sequence[str],
    device: torch.device,
    *,
    content: str = "",
    cache: Path | None = None,
) -> Sequences:
    """Return questions and answers as tokens, for batches on a device.

    With ``cache``, a folder, the tokens are a file there, written by the first process that asks for them and mapped
    into memory. Its name depends on the encoder and on ``content``, which identifies the texts. Without one, or if it
    cannot be written, they are in memory. Raises `ValueError` for a prompt that leaves no room for an answer.
    """

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(answers), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            yield encoder.encode(questions[part], answers[part], start)

    if cache is None:
        return sequences_of(chunks(), encoder.pad, device)
    name = hashlib.sha256(f"{FORMAT} {encoder.identity} {content}".encode()).hexdigest()[:24]
    path = cache / f"tokens-{name}.bin"
    try:
        write_once(path, lambda file: write_tokens(file, chunks()))
        return _read(np.memmap(path, np.int64, mode="c"), encoder.pad, device)
    except OSError as error:
        logger.warning("tokens are not cached in %s: %s", cache, one_line(error))
        return sequences_of(chunks(), encoder.pad, device)


def sequences_of(chunks: Iterable[Sequence[Encoded]], pad: int, device: torch.device) -> Sequences:
    """Concatenate encoded texts in memory."""
    file = BytesIO()
    write_tokens(file, chunks)
    return _read(np.frombuffer(file.getbuffer(), np.int64), pad, device)


def write_tokens(file: BinaryIO, chunks: Iterable[Sequence[Encoded]]) -> None:
    """Write encoded texts as int64: all tokens, then the other tensors of `Sequences`, then the numbers of windows and
    texts. No more than a chunk of tokens is in memory.
    """
    parts: list[list[np.ndarray]] = [[], [], [], []]
    for chunk in chunks:
        windows = [window for text in chunk for window in text.windows]
        tokens = chain.from_iterable(chain(window.prompt, window.answer) for window in windows)
        file.write(np.fromiter(tokens, np.int64).data)
        extents = (
            [len(window.prompt) for window in windows],
            [len(window.answer) for window in windows],
            [len(text.windows) for text in chunk],
            [text.dropped for text in chunk],
        )
        for part, values in zip(parts, extents, strict=True):
            part.append(np.array(values, np.int64))
    for part in parts:
        file.write(np.concatenate([np.empty(0, np.int64), *part]).data)
    counts = [sum(map(len, parts[at])) for at in (0, 2)]
    file.write(np.array(counts, np.int64).data)


def _read(values: np.ndarray, pad: int, device: torch.device) -> Sequences:
    windows, texts = values[-2:].tolist()
    tokens = len(values) - 2 - 2 * (windows + texts)
    flat, prompts, answers, of_texts, dropped = torch.from_numpy(values[:-2]).split(
        [tokens, windows, windows, texts, texts]
    )
    return Sequences(flat, prompts, answers, of_texts, dropped, pad, device)
