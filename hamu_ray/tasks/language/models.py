"""Causal language models: a small one built here, or any that `transformers` can load; and their adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hamu_ray.config.language import EMBEDDED, LanguageModelConfig, LoraConfig
from hamu_ray.config.nearest import nearest
from hamu_ray.tasks.checkpoints import Checkpoint
from hamu_ray.tasks.hub import hub_or_cache, one_line
from hamu_ray.tasks.language.data import Batch
from hamu_ray.tasks.language.tokenizer import Encoder
from hamu_ray.tasks.pretrained import check_adapter, pretrained
from hamu_ray.tasks.task import Start

FEED_FORWARD_RATIO = 3
"""Width of the embedded model's feed-forward layers over its own."""


def build_language_model(
    config: LanguageModelConfig,
    encoder: Encoder,
    seed: int,
    device: torch.device,
    *,
    frozen: bool = False,
    start: Start | None = None,
) -> nn.Module:
    """Return a model on the device; the seed decides random weights, whatever the device.

    A checkpoint keeps its weights, those of ``start`` where it is given: in float32, or where they stay ``frozen``
    in the configured precision. The caller's generators are left alone. Raises `ValueError` for a name that is
    neither, and a model that is too short for the data, or has another vocabulary.
    """
    dtype = torch.bfloat16 if frozen and config.precision == "bfloat16" else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = start or Start("model.name", config.name)
        is_checkpoint = start.name != EMBEDDED
        model: Any = _checkpoint(config, start, dtype) if is_checkpoint else _embedded(config, encoder)
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(encoder.tokenizer):
        raise ValueError(
            f"{start.key}: {start.name} knows {rows} tokens, the tokenizer of {config.name} has "
            f"{len(encoder.tokenizer)}; give a model with this vocabulary"
        )
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and encoder.config.max_length > context:
        raise ValueError(
            f"data.max_length: {encoder.config.max_length} tokens are more than the {context} that "
            f"{config.name} takes; lower it"
        )
    if config.gradient_checkpointing:
        # The same under its new name, and under that of older versions.
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})
    return model.to(device)


def _embedded(config: LanguageModelConfig, encoder: Encoder) -> nn.Module:
    from transformers import AutoModelForCausalLM, LlamaConfig

    tokenizer = encoder.tokenizer
    return AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=FEED_FORWARD_RATIO * config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=encoder.config.max_length,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        attn_implementation=config.attn_implementation,
    )


def _checkpoint(config: LanguageModelConfig, start: Start, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForCausalLM

    checkpoint = Checkpoint(start.key, start.name)
    try:
        _ = checkpoint.config
    except ValueError as error:
        problem = str(error).removeprefix(f"{start.key}: ")
        raise ValueError(
            f"{start.key}: {start.name} is neither {EMBEDDED} nor a transformers causal language model that can be "
            f"loaded: {problem}"
        ) from error
    return pretrained(
        AutoModelForCausalLM,
        checkpoint,
        dtype=dtype,
        attn_implementation=config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
    )


def with_adapter(
    model: nn.Module, config: LoraConfig, seed: int, key: str = "model.lora.adapter"
) -> nn.Module:
    """Return the model with a fresh adapter, or the one that the configuration names, as all that is trained.

    An adapter that was there before goes: the model that had it is not to be used any more. The seed decides the
    fresh one's weights, which change nothing at first; ``key`` is what names the adapter. Raises `ValueError` for
    layers that are not there, and an adapter that does not fit.
    """
    from peft import LoraConfig as PeftConfig
    from peft import PeftModel, get_peft_model

    base: Any = model.unload() if isinstance(model, PeftModel) else model
    _check_targets(base, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(
            base,
            PeftConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=list(config.target_modules),
                task_type="CAUSAL_LM",
            ),
        )
    if config.adapter is not None:
        _load_adapter(adapted, config.adapter, key)
    return adapted


def _check_targets(model: nn.Module, config: LoraConfig) -> None:
    """Check that each name ends that of a linear layer."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in config.target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            known = {name.rpartition(".")[2] for name in layers}
            raise ValueError(
                f"model.lora.target_modules: the model has no linear layer {target}; {nearest(target, known)}"
            )


def _load_adapter(model: Any, path: str, key: str) -> None:
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import load_peft_weights

    try:
        with hub_or_cache(path):
            weights = load_peft_weights(path, device="cpu")
    except Exception as error:  # peft and the hub's client raise a zoo of types
        raise ValueError(f"{key}: {path} cannot be loaded: {one_line(error)}") from error
    check_adapter(Checkpoint(key, path), model, weights)
    set_peft_model_state_dict(model, weights)


def answer_logits(model: Any, batch: Batch) -> Tensor:
    """Return the logits of the answer tokens alone, ``(items, vocabulary)``, in the precision of the forward pass.

    Only what predicts an answer token reaches the vocabulary's layer, which for long prompts and large
    vocabularies is most of the work and memory saved.
    """
    with _rows_at(model.get_output_embeddings(), batch):
        return model(input_ids=batch.tokens, use_cache=False).logits[0]


@contextmanager
def _rows_at(head: nn.Module, batch: Batch) -> Iterator[None]:
    """Within, the output layer is given the hidden states of a batch's items alone, as one long text."""

    def gathered(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = inputs
        return (hidden[batch.rows, batch.columns].unsqueeze(0), *others)

    hook = head.register_forward_pre_hook(gathered)
    try:
        yield
    finally:
        hook.remove()
