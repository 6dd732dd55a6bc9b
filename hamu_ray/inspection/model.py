"""A model as its files describe it: kind, size, classes, preprocessing, context length, template. Needs no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from hamu_ray.config.task.language_model import EMBEDDED
from hamu_ray.config.task.model import OWN
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.tasks.language.check import CONTEXT, TOKENIZERS
from hamu_ray.tasks.models.checkpoints import PREPROCESSOR, Checkpoint, tensors_of
from hamu_ray.tasks.vision.classes import PLACEHOLDER, class_names

TASKS = {"ForImageClassification": "vision", "ForCausalLM": "language", "LMHeadModel": "language"}
"""Tasks by the ends of the names of `transformers` classes."""

KINDS = {
    "vision": "an image classifier",
    "language": "a causal language model",
    None: "a model without a task",
}

SHOWN = 6
"""Maximum number of classes that are listed."""


@dataclass(frozen=True)
class Model:
    """A built-in model, or a checkpoint of `transformers` or `peft`: a folder or a name on the hub."""

    name: str

    @property
    def embedded(self) -> bool:
        """Whether it is built in."""
        return self.name in (*OWN, EMBEDDED)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Its files."""
        return Checkpoint("model", self.name)

    @property
    def base(self) -> str | None:
        """The model that an adapter was trained on; None for a whole model."""
        found = None if self.embedded else self.checkpoint.base
        return found.name if found else None

    @property
    def whole(self) -> "Model":
        """The base model of an adapter, or the model itself."""
        return Model(self.base) if self.base else self

    @cached_property
    def task(self) -> Literal["vision", "language"] | None:
        """The task that its class belongs to; None if its configuration does not name one."""
        if self.embedded:
            return "language" if self.name == EMBEDDED else "vision"
        named = self.checkpoint.config.get("architectures") or ()
        found = [task for name in named for end, task in TASKS.items() if str(name).endswith(end)]
        return found[0] if found else None  # type: ignore[return-value]

    @cached_property
    def parameters(self) -> int | None:
        """The number of its parameters, an adapter's included; None on the hub, and for other formats of weights."""
        if self.embedded or not self.checkpoint.local:
            return None
        files = self.checkpoint.weights
        if any(path.suffix != ".safetensors" for path in files):
            return None
        own = sum(prod(place.shape) for path in files for place in tensors_of(path).values())
        below = self.whole.parameters if self.base else 0
        return None if below is None else own + below

    @property
    def classes(self) -> list[str]:
        """The names of its classes; empty if they are only numbered, or if it is no classifier."""
        if self.embedded or self.task != "vision":
            return []
        names = class_names(self.checkpoint)
        return [] if all(PLACEHOLDER.fullmatch(name) for name in names) else names

    @cached_property
    def has_preprocessor(self) -> bool:
        """Whether it comes with an image processor."""
        return not self.embedded and self.checkpoint.file(PREPROCESSOR) is not None

    @property
    def image_size(self) -> int | None:
        """Side length of its input in pixels, if its configuration determines it."""
        size = None if self.embedded else self.checkpoint.config.get("image_size")
        return size if isinstance(size, int) else None

    @property
    def context(self) -> int | None:
        """Maximum number of tokens of a text, if its configuration has one."""
        described = {} if self.embedded else self.checkpoint.config
        return next((described[key] for key in CONTEXT if isinstance(described.get(key), int)), None)

    @cached_property
    def has_template(self) -> bool:
        """Whether its tokenizer has a chat template."""
        if self.embedded:
            return False
        files = self.whole.checkpoint
        return bool(files.json(TOKENIZERS[0]).get("chat_template")) or bool(files.file("chat_template.jinja"))

    def findings(self) -> Iterator[Finding]:
        """Yield a line for each part of it.

        Raises:
            ValueError: It cannot be read; one line with the remedy.
        """
        if self.embedded:
            yield Finding("model", f"{self.name}, built in, trained from random weights")
            return
        self.checkpoint.check()
        kind = self.checkpoint.config.get("model_type", "unknown")
        size = "" if self.parameters is None else f", {self.parameters:,} parameters"
        yield Finding("model", f"{self.name}: {kind}, {KINDS[self.task]}{size}")
        if self.base:
            rank = self.checkpoint.adapter.get("r")
            yield Finding(
                "adapter", f"{self.checkpoint.adapter.get('peft_type')} of rank {rank} on {self.base}"
            )
        if self.task == "vision":
            yield from self._vision()
        if self.task == "language":
            yield from self._language()

    def _vision(self) -> Iterator[Finding]:
        named = self.classes
        more = ", ..." if len(named) > SHOWN else ""
        names = f": {', '.join(named[:SHOWN])}{more}" if named else ", without names"
        yield Finding("classes", f"{len(class_names(self.checkpoint))}{names}")
        if self.has_preprocessor:
            yield Finding("images", f"preprocessed by its {PREPROCESSOR}")
        else:
            size = f"; images are resized to {self.image_size}" if self.image_size else ""
            text = f"no {PREPROCESSOR}: mean and standard deviation are taken to be 0.5{size}"
            yield Finding("images", f"{text}; set data.mean and data.std to those of its training", True)

    def _language(self) -> Iterator[Finding]:
        limit = f"{self.context} tokens" if self.context else "no limit in its configuration"
        yield Finding("context", limit)
        template = "the tokenizer's" if self.has_template else "none; `data.prompt` is used"
        yield Finding("template", template)
