"""Tokenizers: a checkpoint's, or one that is learned from the corpus."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.tasks.models.hub import hub_or_cache, one_line
from hamu_ray.tasks.prepared_file import write_once

if TYPE_CHECKING:
    from hamu_ray.tasks.language.documents.texts import Texts

logger = logging.getLogger(__name__)

BEGIN, END, PAD = "<s>", "</s>", "<pad>"
"""Special tokens of a learned vocabulary."""

VOCABULARY_FORMAT = 2
"""Part of every cache key: increase it when learning changes, so that old files are no longer used."""


def load_tokenizer(config: LanguageModelConfig, texts: "Texts", cache: Path | None) -> Any:
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


def _learned(texts: "Texts", size: int, cache: Path | None) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    def learn() -> str:
        return learn_vocabulary(texts, size).to_str()

    learned = Tokenizer.from_str(learn() if cache is None else _cached(cache, (size, texts.digest), learn))
    return PreTrainedTokenizerFast(tokenizer_object=learned, bos_token=BEGIN, eos_token=END, pad_token=PAD)


def learn_vocabulary(texts: Iterable[str], size: int) -> Any:
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


def _cached(folder: Path, key: tuple[object, ...], learn: Callable[[], str]) -> str:
    """Return what is learned, from a file if it has been learned before; without one if it cannot be written."""
    name = hashlib.sha256(repr((VOCABULARY_FORMAT, *key)).encode()).hexdigest()[:24]
    path = folder / f"tokenizer-{name}.json"
    try:
        write_once(path, lambda file: file.write(learn().encode()))
        return path.read_text()
    except OSError as error:
        logger.warning("the vocabulary is not cached in %s: %s", folder, one_line(error))
        return learn()
