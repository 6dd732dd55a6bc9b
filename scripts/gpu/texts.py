"""Random answers of equal length as a task of the engine, and Llamas of random weights that learn them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.scores import answer_logits, grouped
from hamu_ray.tasks.task import Outputs

PROMPT = 20
"""Tokens of a question."""


class Llama(NamedTuple):
    """The shape of a Llama."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    vocabulary: int = 32_000

    @property
    def parameters(self) -> int:
        """Weights: attention, feed-forward layers and norms; embeddings and output layer are not tied."""
        block = 4 * self.hidden**2 + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return self.layers * block + 2 * self.vocabulary * self.hidden + self.hidden


TINY = Llama(64, 192, 2, 2, 512)
SMALL = Llama(256, 768, 4, 4, 2048)
LLAMAS = {
    "160M": Llama(768, 3072, 12, 12),
    "1B": Llama(2048, 5504, 18, 16),
    "7B": Llama(4096, 11_008, 32, 32),
}


class RandomTexts:
    """Questions and answers of random tokens; the first half is forgotten."""

    teacher_outlives_model = False

    def __init__(
        self, count: int, answer: int, llama: Llama, device: torch.device, *, precision: str = "float32"
    ) -> None:
        self.device, self.precision, self.llama = device, precision, llama
        generator = torch.Generator().manual_seed(0)
        length = PROMPT + answer
        self.texts = Sequences(
            # 0 is padding, and ends an answer.
            torch.randint(1, llama.vocabulary, (count * length,), generator=generator),
            torch.full((count,), PROMPT),
            torch.full((count,), answer),
            torch.ones(count, dtype=torch.int64),
            torch.zeros(count, dtype=torch.int64),
            pad=0,
            device=device,
        )
        self.tokens = length
        """Of a question with its answer."""
        self.splits = {"forget": torch.arange(count // 2), "retain": torch.arange(count // 2, count)}

    def build_model(self, seed: int, *, lora: bool, dropout: float = 0.0) -> nn.Module:
        """Return a Llama with random weights made on the device: with LoRA frozen in the task's precision."""
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, LlamaConfig

        shape = self.llama
        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=512,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        frozen_dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        torch.manual_seed(seed)
        with torch.device(self.device):
            model: Any = AutoModelForCausalLM.from_config(
                config, attn_implementation="sdpa", dtype=frozen_dtype if lora else torch.float32
            )
            if lora:
                names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
                adapter = LoraConfig(r=8, lora_alpha=16, lora_dropout=dropout, target_modules=list(names))
                model = get_peft_model(model, adapter)
        return model.to(self.device)

    def count(self, examples: Tensor) -> int:
        return int(self.texts.answers[examples].sum())

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        return [examples[places] for places in grouped(self.texts, examples, size)]

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        batch = self.texts.batch(examples)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return Outputs(answer_logits(model, batch), batch.labels, batch.texts)
