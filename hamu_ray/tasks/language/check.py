"""Checks of data, model and adapter against the configuration, without importing torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hamu_ray.config.run import MODEL_FILE
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.task.language import ForgetSplit, TextSection
from hamu_ray.config.task.language_model import ATTENTION, FEED_FORWARD, LanguageModelConfig, LoraConfig
from hamu_ray.tasks.forecast import check_overlap
from hamu_ray.tasks.language.documents.corpus import Corpus, ForgetText, load_corpus, split_corpus
from hamu_ray.tasks.language.documents.rows import check_path
from hamu_ray.tasks.language.documents.second import second_answers_of
from hamu_ray.tasks.language.forecast import overlaps
from hamu_ray.tasks.models.hub import is_local, one_line

ADAPTER_CONFIG = "adapter_config.json"

GIVEN = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "target_modules": "target_modules"}
"""Keys of `model.lora` that a given adapter determines, with `peft`'s names."""

CONTEXT = ("max_position_embeddings", "n_positions")
"""Names of the maximum context length in checkpoints."""

TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
"""Files of which one exists if a folder has a tokenizer."""


def check_language(
    config: TextSection, choices: Sequence[tuple[ForgetText, int]], model: LanguageModelConfig
) -> None:
    """Check the model's folder and the texts, and that every forget set can be selected, each with its seed.

    Models on the hub are not checked. Whether every prompt fits is known only once the tokenizer is loaded. Raises
    `ValueError` with one line that names the key and the remedy.
    """
    check_path(config)
    check_model(config, model)
    corpora: dict[str | None, Corpus] = {}
    compared: set[tuple[str | None, bytes]] = set()
    for forget, seed in choices:
        split = forget.split if isinstance(forget, ForgetSplit) else None
        if split not in corpora:
            corpora[split] = load_corpus(config, forget)
        parts = split_corpus(corpora[split], forget, seed)
        if config.alternate_column is not None or config.refusals_path is not None:
            second_answers_of(config, corpora[split].rows, parts.forget.tolist(), seed)
        key = (split, parts.forget.tobytes())
        if not forget.allow_overlap and key not in compared:  # a requested set does not depend on the seed
            check_overlap(overlaps(corpora[split], parts), "texts")
            compared.add(key)


def check_model(config: TextSection, model: LanguageModelConfig) -> None:
    """Check the files of a local model and adapter; raises `ValueError`."""
    folder = Path(model.name).expanduser()
    if model.embedded:
        if config.template == "chat":
            raise ValueError(f"data.template: {model.name} has no chat template; use plain")
        layers = {*ATTENTION, *FEED_FORWARD}
        asked = next((key for key in ("system_prompt", "template_arguments") if getattr(config, key)), None)
        if asked is not None:
            raise ValueError(f"data.{asked}: {model.name} has no chat template; remove it")
    elif is_local(model.name):
        _check_folder(config, folder)
        layers = _layers(folder)
    else:
        layers = set()
    if model.lora is None:
        return
    for target in model.lora.target_modules or () if layers else ():
        if target.rpartition(".")[2] not in layers:
            raise ValueError(
                f"model.lora.target_modules: the model has no layer {target}; {nearest(target, layers)}"
            )
    if model.lora.adapter is not None and is_local(model.lora.adapter):
        folder = Path(model.lora.adapter).expanduser()
        check_adapter(model.lora, _json("model.lora.adapter", folder / ADAPTER_CONFIG))


def _check_folder(config: TextSection, folder: Path) -> None:
    """Check a checkpoint's context length, and its tokenizer's special tokens and template."""
    if not folder.exists():
        raise ValueError(
            f"model.name: {folder}: no such folder; use small-llama or a transformers checkpoint"
        )
    described = _json("model.name", folder / "config.json")
    context = next((described[key] for key in CONTEXT if isinstance(described.get(key), int)), None)
    if context is not None and config.longest > context:
        key = "max_length" if config.windows is None else "windows.length"
        raise ValueError(
            f"data.{key}: {config.longest} tokens exceed the model's context of {context}; lower it"
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ValueError(
            f"model.name: {folder} has no tokenizer ({TOKENIZERS[0]}); save it there with "
            "tokenizer.save_pretrained, or give a folder that contains one"
        )
    if not (folder / TOKENIZERS[0]).is_file():
        return  # an old format that cannot be checked without loading it
    tokenizer = _json("model.name", folder / TOKENIZERS[0])
    if tokenizer.get("eos_token") is None:
        raise ValueError(f"model.name: the tokenizer of {folder} has no end-of-text token; use another")
    has_template = bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    if has_template:
        return
    for key, remedy in (("system_prompt", "remove it"), ("template_arguments", "remove it")):
        if getattr(config, key):
            raise ValueError(f"data.{key}: the tokenizer of {folder} has no chat template; {remedy}")
    if config.template == "chat":
        raise ValueError(f"data.template: the tokenizer of {folder} has no chat template; use plain")


def _layers(folder: Path) -> set[str]:
    """Return the last parts of the names of a checkpoint's layers, read from its safetensors files."""
    index = folder / f"{MODEL_FILE}.index.json"
    names: list[str] = []
    if index.is_file():
        names = list(_json("model.name", index).get("weight_map", {}))
    elif (folder / MODEL_FILE).is_file():
        from safetensors import safe_open

        with safe_open(folder / MODEL_FILE, framework="np") as file:
            names = list(file.keys())
    return {name.removesuffix(".weight").rpartition(".")[2] for name in names if name.endswith(".weight")}


def check_adapter(lora: LoraConfig, described: Mapping[str, Any]) -> None:
    """Compare an adapter's own configuration with the run's configuration.

    Raises `ValueError` if the adapter is not LoRA, and for contradictions.
    """
    adapter = lora.adapter
    if described.get("peft_type", "LORA") != "LORA":
        raise ValueError(
            f"model.lora.adapter: {adapter} is an adapter by {described['peft_type']}; give one by LORA"
        )
    for key, name in GIVEN.items():
        wanted, found = getattr(lora, key), described.get(name)
        if isinstance(wanted, tuple) and isinstance(found, list):
            wanted, found = sorted(wanted), sorted(found)
        if wanted is not None and wanted != found:
            raise ValueError(
                f"model.lora.{key}: {_plain(wanted)} differs from {adapter}, which has {_plain(found)}; "
                "set it to null to use the adapter's"
            )


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _json(key: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{key}: {path.parent} has no {path.name}; give a folder that contains one"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {path} cannot be read: {one_line(error)}; give another") from error
    return content if isinstance(content, dict) else {}
