"""Whether data, model and adapter fit what a configuration asks of them, found out without importing torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hamu_ray.config.language import (
    ATTENTION,
    FEED_FORWARD,
    ForgetSplit,
    LanguageModelConfig,
    LoraConfig,
    TextSection,
)
from hamu_ray.config.nearest import nearest
from hamu_ray.config.run import MODEL_FILE
from hamu_ray.tasks.hub import is_local, one_line
from hamu_ray.tasks.language.corpus import Corpus, ForgetText, load_corpus, split_corpus
from hamu_ray.tasks.language.rows import check_path

ADAPTER_CONFIG = "adapter_config.json"


def check_language(
    config: TextSection, choices: Sequence[tuple[ForgetText, int]], model: LanguageModelConfig
) -> None:
    """Check the model's folder and the texts, and that these can give every forget set, each with its seed.

    Of a model on the hub nothing is looked at. Whether every prompt fits is known once its tokenizer is loaded.
    Raises `ValueError` with one line that names the key and the remedy.
    """
    check_path(config)
    check_model(config, model)
    corpora: dict[str | None, Corpus] = {}
    for forget, seed in choices:
        split = forget.split if isinstance(forget, ForgetSplit) else None
        if split not in corpora:
            corpora[split] = load_corpus(config, forget)
        split_corpus(corpora[split], forget, seed)


def check_model(config: TextSection, model: LanguageModelConfig) -> None:
    """Check what the files of a model and an adapter say, where they are of this machine; raises `ValueError`."""
    folder = Path(model.name).expanduser()
    if model.embedded:
        if config.template == "chat":
            raise ValueError(f"data.template: {model.name} has no chat template; take plain")
        layers = {*ATTENTION, *FEED_FORWARD}
    elif is_local(model.name):
        _check_folder(config, folder)
        layers = _layers(folder)
    else:
        layers = set()
    if model.lora is None:
        return
    for target in model.lora.target_modules if layers else ():
        if target.rpartition(".")[2] not in layers:
            raise ValueError(
                f"model.lora.target_modules: the model has no layer {target}; {nearest(target, layers)}"
            )
    if model.lora.adapter is not None and is_local(model.lora.adapter):
        _check_adapter(model.lora, Path(model.lora.adapter).expanduser())


def _check_folder(config: TextSection, folder: Path) -> None:
    """Check a checkpoint's context and its tokenizer's special tokens and template."""
    if not folder.exists():
        raise ValueError(
            f"model.name: {folder}: no such folder; take small-llama or a transformers checkpoint"
        )
    described = _json("model.name", folder / "config.json")
    context = described.get("max_position_embeddings")
    if isinstance(context, int) and config.max_length > context:
        raise ValueError(
            f"data.max_length: {config.max_length} tokens are more than the {context} that the model takes; "
            "lower it"
        )
    tokenizer = _json("model.name", folder / "tokenizer_config.json")
    if tokenizer.get("eos_token") is None:
        raise ValueError(f"model.name: the tokenizer of {folder} has no end-of-text token; take another")
    has_template = bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    if config.template == "chat" and not has_template:
        raise ValueError(f"data.template: the tokenizer of {folder} has no chat template; take plain")


def _layers(folder: Path) -> set[str]:
    """Return the last parts of the names of a checkpoint's layers, as far as its safetensors files tell."""
    index = folder / f"{MODEL_FILE}.index.json"
    names: list[str] = []
    if index.is_file():
        names = list(_json("model.name", index).get("weight_map", {}))
    elif (folder / MODEL_FILE).is_file():
        from safetensors import safe_open

        with safe_open(folder / MODEL_FILE, framework="np") as file:
            names = list(file.keys())
    return {name.removesuffix(".weight").rpartition(".")[2] for name in names if name.endswith(".weight")}


def _check_adapter(lora: LoraConfig, folder: Path) -> None:
    """Compare an adapter's shape with the one configured."""
    key = "model.lora.adapter"
    described = _json(key, folder / ADAPTER_CONFIG)
    rank, targets = described.get("r"), described.get("target_modules")
    if rank != lora.rank:
        raise ValueError(f"{key}: {folder} has rank {rank}, not {lora.rank}; set model.lora.rank to {rank}")
    if isinstance(targets, list) and set(targets) != set(lora.target_modules):
        raise ValueError(
            f"{key}: {folder} adapts {', '.join(sorted(targets))}; set model.lora.target_modules to these"
        )


def _json(key: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{key}: {path.parent} has no {path.name}; give a folder that holds one") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {path} cannot be read: {one_line(error)}; give another") from error
    return content if isinstance(content, dict) else {}
