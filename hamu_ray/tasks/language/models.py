"""Causal language models: a small built-in one, or any that `transformers` can load."""

from typing import Any

import torch
from torch import nn

from hamu_ray.config.task.language_model import EMBEDDED, LanguageModelConfig, LoraConfig
from hamu_ray.tasks.language.adapter import as_fresh, with_adapter
from hamu_ray.tasks.language.data import Encodings, LanguageData
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.deferred import defer
from hamu_ray.tasks.models.hub import hub_or_cache, one_line
from hamu_ray.tasks.models.pretrained import pretrained
from hamu_ray.tasks.modes import is_sharded
from hamu_ray.tasks.task import Start

ATTENTION_NAMES = ("attn_implementation", "scaled_dot_product_attention", "flash_attn", "FlashAttention")
"""Words in errors of `transformers` if a model or this machine does not support an attention implementation."""

STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes by their names in safetensors files."""

FEED_FORWARD_RATIO = 3
"""Width of the built-in model's feed-forward layers relative to its hidden size."""


class Models:
    """The models of a task: trained as a whole, or adapters on a base that a worker keeps."""

    def __init__(
        self, data: LanguageData, encodings: Encodings, config: LanguageModelConfig, parameters: str
    ) -> None:
        """Build models for these texts; ``parameters`` (``all`` or ``lora``) are those that base models train."""
        self._resident, self._encodings, self._config = data.resident, encodings, config
        self._parameters = parameters

    def build(self, seed: int, start: Start | None, device: torch.device) -> nn.Module:
        """Return a model for training; see `LanguageTask.build_model`."""
        if self._parameters == "all":
            return self._built(seed, device, start)
        lora, key_of_adapter = self._adapter(start)
        content = Checkpoint("model.name", self._config.name).identity
        key = ("base", self._config.model_dump_json(exclude={"lora"}), content, device)
        base = self._resident.get(key)
        if base is None or is_sharded(base):
            base = self._built(seed, device, frozen=True)
        self._resident[key] = with_adapter(base, lora, seed, key_of_adapter)
        return self._resident[key]

    def _adapter(self, start: Start | None) -> tuple[LoraConfig, str]:
        """Return the initial adapter as a configuration, and the key that names it."""
        lora = self._config.lora
        assert lora is not None
        if start is None:
            return lora, "model.lora.adapter"
        checkpoint = Checkpoint(start.key, start.name)
        if checkpoint.adapter:
            return lora.model_copy(update={"adapter": start.name}), start.key
        if checkpoint.identity != Checkpoint("model.name", self._config.name).identity:
            raise ValueError(
                f"{start.key}: {start.name} is a whole model, and with training.parameters lora only adapters on "
                "model.name are trained; give an adapter, make it model.name, or set training.parameters to all"
            )
        return as_fresh(lora), start.key

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model that unlearning changes; see `LanguageTask.unlearner`."""
        if self._parameters == "all" and self._config.lora is not None:
            return with_adapter(model, self._config.lora, seed)
        return model

    def _built(
        self, seed: int, device: torch.device, start: Start | None = None, *, frozen: bool = False
    ) -> nn.Module:
        encoder = self._encodings.encoder
        model: Any = build_language_model(self._config, encoder, seed, device, frozen=frozen, start=start)
        known, highest = model.get_input_embeddings().num_embeddings, int(self._encodings.texts.tokens.max())
        if highest >= known:
            key, name = (start.key, start.name) if start else ("model.name", self._config.name)
            raise ValueError(
                f"{key}: {name} knows {known} tokens, but the texts contain token {highest} of the tokenizer of "
                f"{self._config.name}; use a model with this vocabulary"
            )
        return model


def build_language_model(
    config: LanguageModelConfig,
    encoder: Encoder,
    seed: int,
    device: torch.device,
    *,
    frozen: bool = False,
    start: Start | None = None,
) -> nn.Module:
    """Return a model on the device; the seed determines random weights, independent of the device.

    On the meta device, parameters are `Deferred`: of a checkpoint nothing is read until they are used.
    A checkpoint keeps its weights, or those of ``start`` if given: in float32, or in the configured precision if they
    stay ``frozen``. Global random states are not changed. Raises `ValueError` for a name that is neither, and for a
    model whose context is too short for the data.
    """
    dtype = torch.bfloat16 if frozen and config.precision == "bfloat16" else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = start or Start("model.name", config.name)
        is_checkpoint = start.name != EMBEDDED
        build = _mapped if device.type == "meta" else _checkpoint
        model: Any = build(config, start, dtype) if is_checkpoint else _embedded(config, encoder)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and encoder.config.longest > context:
        key = "max_length" if encoder.config.windows is None else "windows.length"
        raise ValueError(
            f"data.{key}: {encoder.config.longest} tokens exceed the context of {config.name}, {context}; "
            "lower it"
        )
    model = _recomputing(model, config)
    if device.type != "meta":
        return model.to(device)
    defer(model, dtype)
    return model


def outlined_language_model(config: LanguageModelConfig, longest: int, dtype: torch.dtype) -> nn.Module:
    """Return the model without its weights, on the meta device: of a checkpoint only its configuration is read.

    A learned vocabulary is assumed to be as large as it may be; ``longest`` is the longest text in tokens. Raises
    `ValueError` for a checkpoint without a readable configuration.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    attention = "eager" if config.attn_implementation == "eager" else "sdpa"  # needs no package
    if config.embedded:
        described: Any = _llama(config, config.vocabulary, longest)
    else:
        checkpoint = Checkpoint("model.name", config.name)
        source = (checkpoint.base or checkpoint).name
        try:
            with hub_or_cache(source):
                described = AutoConfig.from_pretrained(source, trust_remote_code=config.trust_remote_code)
        except Exception as error:  # transformers and the hub's client raise many unrelated types
            raise ValueError(f"model.name: {config.name} cannot be loaded: {one_line(error)}") from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            described,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=config.trust_remote_code,
        )
    return _recomputing(model, config)


def _recomputing(model: Any, config: LanguageModelConfig) -> Any:
    """Return the model with gradient checkpointing, if configured."""
    if config.gradient_checkpointing:
        # The method's new name, or its name in older versions.
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})
    return model


def _embedded(config: LanguageModelConfig, encoder: Encoder) -> nn.Module:
    from transformers import AutoModelForCausalLM

    tokenizer = encoder.tokenizer
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    described = _llama(config, len(tokenizer), encoder.config.longest, **special)
    return AutoModelForCausalLM.from_config(described, attn_implementation=config.attn_implementation)


def _llama(config: LanguageModelConfig, vocabulary: int, longest: int, **special: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden_size,
        intermediate_size=FEED_FORWARD_RATIO * config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=longest,
        tie_word_embeddings=True,
        **special,
    )


def _mapped(config: LanguageModelConfig, start: Start, dtype: torch.dtype) -> nn.Module:
    """Return a checkpoint's model whose weights are mapped from its files, which requires the files' own dtype.

    It is loaded in ``dtype`` if something else than weights would differ, and if an adapter is merged into it.
    """
    checkpoint = _known(start)
    stored = dtype if checkpoint.adapter else STORED.get(checkpoint.dtype or "", dtype)
    model: Any = _checkpoint(config, start, stored)
    kept = getattr(model, "_keep_in_fp32_modules", None) or getattr(
        model, "_keep_in_fp32_modules_strict", None
    )
    rounded = any(b.is_floating_point() and b.dtype != torch.float32 for b in model.buffers())
    if stored != dtype and (kept or rounded):
        return _checkpoint(config, start, dtype)
    model.config.dtype = dtype
    return model


def _known(start: Start) -> Checkpoint:
    """Return a checkpoint that has a configuration; raises `ValueError` for other names."""
    checkpoint = Checkpoint(start.key, start.name)
    try:
        _ = checkpoint.config
    except ValueError as error:
        problem = str(error).removeprefix(f"{start.key}: ")
        raise ValueError(
            f"{start.key}: {start.name} is neither {EMBEDDED} nor a transformers causal language model that can be "
            f"loaded: {problem}"
        ) from error
    return checkpoint


def _checkpoint(config: LanguageModelConfig, start: Start, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForCausalLM

    checkpoint = _known(start)
    try:
        return pretrained(
            AutoModelForCausalLM,
            checkpoint,
            dtype=dtype,
            attn_implementation=config.attn_implementation,
            trust_remote_code=config.trust_remote_code,
        )
    except ValueError as error:
        if not any(name in str(error) for name in ATTENTION_NAMES):
            raise
        raise ValueError(
            f"model.attn_implementation: {start.name} does not support {config.attn_implementation} here: {error}; "
            "use another, such as eager"
        ) from error
