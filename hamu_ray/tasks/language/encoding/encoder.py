"""Tokenization of prompts and answers, truncated to the model's context or split into windows."""

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hamu_ray.config.task.language import TextSection
from hamu_ray.tasks.language.encoding.template import chat_template, plain_template
from hamu_ray.tasks.models.hub import one_line

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A part of a text that fits the model: ``answer`` is predicted from ``prompt``, the tokens before it."""

    prompt: Tokens
    answer: Tokens


@dataclass(frozen=True)
class Encoded:
    """A text as tokens: windows that partition the answer, which ends with the end token unless truncated."""

    windows: tuple[Window, ...]
    dropped: int = 0
    """Number of answer tokens that are in no window."""

    @property
    def prompt(self) -> Tokens:
        """The tokens before the answer."""
        return self.windows[0].prompt

    @property
    def answer(self) -> Tokens:
        """The part of the answer that is used."""
        return tuple(token for window in self.windows for token in window.answer)


class Encoder:
    """Converts questions and answers to tokens, with a tokenizer and a template."""

    def __init__(self, tokenizer: Any, config: TextSection) -> None:
        """Use a `transformers` tokenizer; raises `ValueError` if it lacks what the template needs."""
        self.tokenizer = tokenizer
        self.config = config
        name = tokenizer.name_or_path or "the tokenizer"
        if tokenizer.eos_token_id is None:
            raise ValueError(f"model.name: the tokenizer of {name} has no end-of-text token; use another")
        has_chat = bool(tokenizer.chat_template)
        if not has_chat:
            wanted = [key for key in ("system_prompt", "template_arguments") if getattr(config, key)]
            if config.template == "chat" or wanted:
                key = "template" if config.template == "chat" else wanted[0]
                remedy = "use plain" if key == "template" else "remove it"
                raise ValueError(f"data.{key}: the tokenizer of {name} has no chat template; {remedy}")
        self.chat = has_chat and config.template != "plain" and config.question_column is not None
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        special = sorted(
            {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
            | set(tokenizer.all_special_tokens),
            key=len,
            reverse=True,
        )
        self._special = re.compile("|".join(map(re.escape, special)))
        system = config.system_prompt
        self._template = (
            chat_template(tokenizer, config, system and self._marked(system))
            if self.chat
            else plain_template(tokenizer, config)
        )
        self.end = self._end()

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything that determines the tokens of a text."""
        import tokenizers
        import transformers

        content = hashlib.sha256(
            repr(
                (
                    (transformers.__version__, tokenizers.__version__),
                    (self._template, self._special.pattern, self.end),
                    (self.config.longest, self.config.windows),
                )
            ).encode()
        )
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            for path in sorted(Path(folder).iterdir()):
                content.update(path.name.encode())
                content.update(path.read_bytes())
        return content.hexdigest()

    def encode(self, questions: Sequence[str], answers: Sequence[str], first: int = 0) -> list[Encoded]:
        """Return questions and answers as tokens.

        Names of special tokens within a question or an answer are encoded as plain text. ``first`` is the number of the
        first text in errors. Raises `ValueError` for a prompt that leaves no room for an answer.
        """
        filled = [
            self._template.filled(self._marked(question), self._marked(answer))
            for question, answer in zip(questions, answers, strict=True)
        ]
        prompts = self._tokens([prompt for prompt, _ in filled])
        wholes = self._tokens([whole for _, whole in filled])
        return [
            self._encoded(number, prompt, whole)
            for number, (prompt, whole) in enumerate(zip(prompts, wholes, strict=True), first)
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's tokens, without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def _end(self) -> int:
        """Return the token that ends an answer: the template's end of a turn, or the tokenizer's end of a text."""
        tokens = self._tokens([self._template.ending])[0] if self._template.ending else []
        special = set(self.tokenizer.convert_tokens_to_ids(self._special.findall(self._template.ending)))
        return next((token for token in tokens if token in special), self.tokenizer.eos_token_id)

    def _marked(self, text: str) -> str:
        """Return a text in which names of special tokens are marked, so that `_tokens` encodes them as plain text."""
        if not self._special.search(text):
            return text
        from transformers.utils.chat_template_utils import mark_control_tokens

        return mark_control_tokens(text, self._special)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts; marked texts are encoded piece by piece."""
        from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

        never = re.compile("(?!)")
        marked = {number for number, text in enumerate(texts) if mark_control_tokens(text, never) != text}
        plain = [text for number, text in enumerate(texts) if number not in marked]
        encoded: list[list[int]] = []
        if plain:
            batch = self.tokenizer(plain, add_special_tokens=False, return_attention_mask=False)
            encoded = batch["input_ids"]
        rest = iter(encoded)
        try:
            return [
                encode_marked_chat(self.tokenizer, text) if number in marked else next(rest)
                for number, text in enumerate(texts)
            ]
        except ValueError as error:
            raise ValueError(
                "data.answer_column: a text contains a special token that the tokenizer cannot encode as text; remove "
                f"it: {one_line(error)}"
            ) from error

    def _encoded(self, number: int, prompt: list[int], whole: list[int]) -> Encoded:
        """Split a text into prompt and answer where the prompt's own tokens end.

        The tokens of the concatenation may differ from the concatenated tokens: the prompt ends where they start to
        differ.
        """
        shared = next(
            (at for at, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt)
        )
        answer = whole[shared:]
        answer = answer[: answer.index(self.end)] if self.end in answer else answer
        longest = self.config.longest
        if shared < 1 or shared >= longest:
            key = "max_length" if self.config.windows is None else "windows.length"
            raise ValueError(
                f"data.{key}: the prompt of example {number} has {shared} tokens, which leaves none of "
                f"{longest} for its answer; raise it"
            )
        tokens = (*whole[:shared], *answer, self.end)
        if self.config.windows is not None:
            return Encoded(windows_of(tokens, shared, longest, self.config.windows.step))
        return Encoded((Window(tokens[:shared], tokens[shared:longest]),), max(0, len(tokens) - longest))


def windows_of(tokens: Tokens, prompt: int, length: int, stride: int) -> tuple[Window, ...]:
    """Split a text into windows of at most ``length`` tokens whose starts are ``stride`` apart.

    Each token after the first ``prompt`` ones is predicted in exactly one window, the first that contains it.
    ``prompt`` and ``stride`` are at least 1 and below ``length``, so that every predicted token has a token before it.
    """
    windows: list[Window] = []
    start, done = 0, prompt
    while done < len(tokens):
        end = min(start + length, len(tokens))
        windows.append(Window(tokens[start:done], tokens[done:end]))
        start, done = start + stride, end
    return tuple(windows)
