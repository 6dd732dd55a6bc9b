"""Language models and their adapters."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.task.language import Names, PositiveInt

EMBEDDED = "small-llama"
"""Name of the built-in model, which has random initial weights and a vocabulary learned from the corpus."""

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) by `peft`; all other weights are frozen."""

    rank: PositiveInt | None = None
    """null: 8, or the given adapter's."""
    alpha: PositiveInt | None = None
    """The adapter's output is scaled by alpha / rank. null: 16, or the given adapter's."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout on the adapters' inputs in training. Above zero, results depend on the number of workers. null: 0.05, or
    the given adapter's.
    """
    target_modules: Names | None = None
    """Name suffixes of the linear layers that get an adapter. null: all linear layers except the output layer, or the
    given adapter's.
    """
    adapter: str | None = None
    """Folder or hub name of a `peft` LoRA adapter to start from. Its configuration applies; other keys given here must
    agree with it.
    """

    @field_validator("target_modules")
    @classmethod
    def _no_empty_name(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and not all(names):
            raise ValueError("an empty name matches every module; give names of layers, such as q_proj")
        return names


class LanguageModelConfig(Section):
    """A causal language model and its computation."""

    task: Literal["language"] = "language"
    """Follows from the data and can be omitted."""
    name: str = EMBEDDED
    """`small-llama`, or a `transformers` causal language model (hub name or folder)."""
    lora: LoraConfig | None = None
    """Unlearn with adapters; null changes all weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast precision; trained weights stay float32, frozen weights are stored in this precision."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory for about a third more time."""
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    """Attention implementation of `transformers`."""
    trust_remote_code: bool = False
    """Allow a `transformers` checkpoint to run its own code."""
    hidden_size: PositiveInt = 128
    """small-llama: width; the feed-forward layers are three times as wide."""
    layers: PositiveInt = 4
    """small-llama: number of layers."""
    heads: PositiveInt = 4
    """small-llama: number of attention heads, which divide the width."""
    vocabulary: int = Field(default=4096, ge=300)
    """small-llama: maximum size of the byte-level vocabulary, which is learned from the corpus."""

    freeze_batchnorm: ClassVar[bool] = True

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "LanguageModelConfig":
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size: must be a multiple of 2 x heads ({2 * self.heads}), found {self.hidden_size}"
            )
        return self

    @property
    def embedded(self) -> bool:
        """Whether the model is built in."""
        return self.name == EMBEDDED

    @property
    def pretrained(self) -> str | None:
        """The checkpoint that training starts from; None for random weights."""
        return None if self.embedded else self.name

    def recipe(self, parameters: str) -> dict[str, object]:
        """Return what a trained model's weights depend on, as plain data; adapters are included only if they are
        trained.
        """
        fields = {"task", "name", "precision", "attn_implementation", "trust_remote_code"}
        fields |= {"hidden_size", "layers", "heads", "vocabulary"} if self.embedded else set()
        fields |= {"lora"} if parameters == "lora" else set()
        return self.model_dump(mode="json", include=fields)
