"""LoRA adapters by `peft`: new ones from the configuration, or given ones with their own configuration."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.task.language_model import LoraConfig
from hamu_ray.tasks.language.check import check_adapter
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.hub import hub_or_cache, one_line
from hamu_ray.tasks.models.pretrained import check_weights, without_warnings

RANK, ALPHA, DROPOUT = 8, 16, 0.05
"""Defaults of a new adapter."""


def with_adapter(
    model: nn.Module, config: LoraConfig, seed: int, key: str = "model.lora.adapter"
) -> nn.Module:
    """Return the model with a new adapter, or with the one that the configuration names; only the adapter is trained.

    An existing adapter is removed, so that the model it belonged to must not be used any more. The seed determines the
    initial weights of a new adapter, which does not change the outputs; ``key`` is the configuration key of a given
    one. Raises `ValueError` for layers that do not exist, and for an adapter that does not match the model or the
    configuration.
    """
    from peft import PeftModel, get_peft_model

    base: Any = model.unload() if isinstance(model, PeftModel) else model
    described = fresh(base, config) if config.adapter is None else given(config, key)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            with without_warnings():
                adapted = get_peft_model(base, described)
        except ValueError as error:
            if config.adapter is None:
                raise
            raise ValueError(f"{key}: {config.adapter} does not fit the model: {one_line(error)}") from error
    if config.adapter is not None:
        _load_weights(adapted, config.adapter, key)
    return adapted


def fresh(model: nn.Module, config: LoraConfig) -> Any:
    """Return the `peft` configuration of a new adapter; raises `ValueError` for layers that do not exist."""
    from peft import LoraConfig as PeftConfig

    layers = linear_layers(model)
    known = {name.rpartition(".")[2] for name in layers}
    targets = config.target_modules or tuple(sorted(known))
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            raise ValueError(
                f"model.lora.target_modules: the model has no linear layer {target}; {nearest(target, known)}"
            )
    adapted = {name for name in layers if any(f".{name}".endswith(f".{target}") for target in targets)}
    return PeftConfig(
        r=config.rank or RANK,
        lora_alpha=config.alpha or ALPHA,
        lora_dropout=DROPOUT if config.dropout is None else config.dropout,
        target_modules=list(targets),
        # GPT-2's layers store their weights as (inputs, outputs).
        fan_in_fan_out=all(not isinstance(layers[name], nn.Linear) for name in adapted),
        task_type="CAUSAL_LM",
    )


def as_fresh(config: LoraConfig) -> LoraConfig:
    """Return the configuration of a new adapter with the shape of the given one."""
    if config.adapter is None:
        return config
    described = Checkpoint("model.lora.adapter", config.adapter).adapter
    targets = described.get("target_modules")
    shape = {
        "rank": described.get("r"),
        "alpha": described.get("lora_alpha"),
        "dropout": described.get("lora_dropout"),
        "target_modules": tuple(targets) if isinstance(targets, list) else config.target_modules,
    }
    return config.model_copy(update={"adapter": None, **shape})


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """Return the layers that can have an adapter, by name: linear ones and `Conv1D`, except the output layer."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }


def given(config: LoraConfig, key: str) -> Any:
    """Return a given adapter's own `peft` configuration.

    Raises `ValueError` if it cannot be loaded, is not LoRA, or contradicts the run's configuration.
    """
    from peft import PeftConfig

    assert config.adapter is not None
    try:
        with hub_or_cache(config.adapter):
            described: Any = PeftConfig.from_pretrained(str(Path(config.adapter).expanduser()))
    except Exception as error:  # peft and the hub's client raise many unrelated types
        raise ValueError(f"{key}: {config.adapter} cannot be loaded: {one_line(error)}") from error
    check_adapter(config, json.loads(json.dumps(described.to_dict(), default=list)))
    described.inference_mode = False
    return described


def _load_weights(model: Any, path: str, key: str) -> None:
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import load_peft_weights

    try:
        with hub_or_cache(path):
            weights = load_peft_weights(str(Path(path).expanduser()), device="cpu")
    except Exception as error:  # peft and the hub's client raise many unrelated types
        raise ValueError(f"{key}: {path} cannot be loaded: {one_line(error)}") from error
    check_weights(Checkpoint(key, path), model, weights)
    set_peft_model_state_dict(model, weights)
