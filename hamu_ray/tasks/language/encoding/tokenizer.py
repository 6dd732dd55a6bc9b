"""Tokenizers: a checkpoint's, or one that is learned from the corpus."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from hamu_ray.config.language import LanguageModelConfig
from hamu_ray.tasks.hub import hub_or_cache, one_line

logger = logging.getLogger(__name__)

BEGIN, END, PAD = "<s>", "</s>", "<pad>"
"""Special tokens of a learned vocabulary."""

VOCABULARY_FORMAT = 1
"""Part of every cache key: increase it when learning changes, so that old files are no longer used."""


def load_tokenizer(config: LanguageModelConfig, texts: Sequence[str], cache: Path | None) -> Any:
    """Return the tokenizer of a checkpoint, or for the built-in model one that is learned from the texts.

    A learned one is cached in the folder ``cache``. Raises `ValueError` for a checkpoint whose tokenizer cannot be
    loaded.
    """
    if config.embedded:
        return _learned(texts, config.vocabulary, cache)
    from transformers import AutoTokenizer

    try:
        with hub_or_cache(config.name):
            return AutoTokenizer.from_pretrained(config.name, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # transformers and the hub's client raise many unrelated types
        raise ValueError(
            f"model.name: the tokenizer of {config.name} cannot be loaded: {one_line(error)}"
        ) from error


def _learned(texts: Sequence[str], size: int, cache: Path | None) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    key = hashlib.sha256(repr((VOCABULARY_FORMAT, size, texts)).encode()).hexdigest()[:24]
    path = cache / f"tokenizer-{key}.json" if cache else None
    if path is not None and path.is_file():
        learned = Tokenizer.from_str(path.read_text())
    else:
        learned = learn_vocabulary(texts, size)
        if path is not None:
            _write_atomically(path, learned.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=learned, bos_token=BEGIN, eos_token=END, pad_token=PAD)


def learn_vocabulary(texts: Sequence[str], size: int) -> Any:
    """Return a byte-level BPE tokenizer (Sennrich et al. 2016, arXiv 1508.07909) learned from texts.

    It has at most ``size`` tokens and can encode any text. It is deterministic.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _write_atomically(path: Path, text: str) -> None:
    """Write a cache file atomically; if the disk is full, only the cache is lost."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        logger.warning("the vocabulary is not cached in %s: %s", path.parent, one_line(error))
    finally:
        draft.unlink(missing_ok=True)
