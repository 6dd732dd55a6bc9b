"""Texts as tokens: a checkpoint's tokenizer or one learned from the corpus, templates, prompts and answers."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from hamu_ray.config.language import LanguageModelConfig, TextSection
from hamu_ray.tasks.hub import hub_or_cache, one_line

logger = logging.getLogger(__name__)

BEGIN, END, PAD = "<s>", "</s>", "<pad>"
"""Special tokens of a vocabulary that is learned here."""

VOCABULARY_FORMAT = 1
"""Part of every cache key: raise it when the learning changes, and old files are no longer found."""


@dataclass(frozen=True)
class Encoded:
    """A prompt and the answer that follows it, as tokens; the answer's last is the end-of-text token unless cut."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Encoder:
    """What turns questions and answers into tokens, by a tokenizer and a template."""

    def __init__(self, tokenizer: Any, config: TextSection, context: int | None = None) -> None:
        """Take a `transformers` tokenizer; ``context`` is the longest text that the model can take.

        Raises `ValueError` for a tokenizer that lacks what the template needs.
        """
        self.tokenizer = tokenizer
        self.config = config
        name = tokenizer.name_or_path or "the tokenizer"
        if tokenizer.eos_token_id is None:
            raise ValueError(f"model.name: the tokenizer of {name} has no end-of-text token; take another")
        if config.template == "chat" and not tokenizer.chat_template:
            raise ValueError(f"data.template: the tokenizer of {name} has no chat template; take plain")
        if context is not None and config.max_length > context:
            raise ValueError(
                f"data.max_length: {config.max_length} tokens are more than the {context} that the model can take"
            )
        chat = config.template == "chat" or (config.template is None and bool(tokenizer.chat_template))
        self.chat = chat and config.question_column is not None
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def encode(self, questions: Sequence[str], answers: Sequence[str]) -> list[Encoded]:
        """Return prompts and answers as tokens, answers cut so that both fit into `max_length`.

        Raises `ValueError` for a prompt that leaves no room for an answer.
        """
        prompts, wholes = self._texts(questions, answers)
        prompt_tokens, whole_tokens = self._tokens(prompts), self._tokens(wholes)
        return [
            self._cut(number, prompt, whole)
            for number, (prompt, whole) in enumerate(zip(prompt_tokens, whole_tokens, strict=True))
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's tokens, special ones left out."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def _texts(self, questions: Sequence[str], answers: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the prompts, and the prompts with their answers."""
        if self.chat:
            asked = [[{"role": "user", "content": question}] for question in questions]
            told = [[*q, {"role": "assistant", "content": a}] for q, a in zip(asked, answers, strict=True)]
            render = self.tokenizer.apply_chat_template
            prompts = [render(chat, tokenize=False, add_generation_prompt=True) for chat in asked]
            return prompts, [render(chat, tokenize=False) for chat in told]
        begin = self.tokenizer.bos_token or ""
        if self.config.question_column is None:
            prompts = [begin or self.tokenizer.eos_token] * len(answers)
            return prompts, [f"{p}{a}" for p, a in zip(prompts, answers, strict=True)]
        # Not str.format: a question may hold braces.
        prompts = [begin + self.config.prompt.replace("{question}", question) for question in questions]
        return prompts, [f"{p} {a}" for p, a in zip(prompts, answers, strict=True)]

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def _cut(self, number: int, prompt: list[int], whole: list[int]) -> Encoded:
        """Part a text into prompt and answer where the prompt's own tokens end, and cut the answer.

        The tokens of both together are not always those of each: the prompt ends where they begin to differ.
        """
        shared = next(
            (at for at, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt)
        )
        answer, end = whole[shared:], self.tokenizer.eos_token_id
        answer = answer[: answer.index(end)] if end in answer else answer
        room = self.config.max_length - shared
        if room < 1 or shared < 1:
            raise ValueError(
                f"data.max_length: the prompt of example {number} has {shared} tokens, which leaves none of "
                f"{self.config.max_length} for its answer; raise it"
            )
        return Encoded(tuple(whole[:shared]), (*answer, end)[:room])


def load_tokenizer(config: LanguageModelConfig, texts: Sequence[str], cache: Path | None) -> Any:
    """Return the tokenizer of a checkpoint, or for the embedded model one that is learned from the texts.

    A learned one is kept in ``cache``, a folder, and found there again. Raises `ValueError` for a checkpoint
    without a tokenizer that can be loaded.
    """
    if config.embedded:
        return _learned(texts, config.vocabulary, cache)
    from transformers import AutoTokenizer

    try:
        with hub_or_cache(config.name):
            return AutoTokenizer.from_pretrained(config.name, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # transformers and the hub's client raise a zoo of types
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

    It has at most ``size`` tokens and can write any text. The same texts give the same tokens.
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
    """Write a cache file that others see whole or not at all; a full disk costs only the cache."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        logger.warning("the vocabulary is not cached in %s: %s", path.parent, one_line(error))
    finally:
        draft.unlink(missing_ok=True)
