"""The data determine the task, and thus the keys of the model and the forget set."""

from pathlib import Path
from typing import Any

import pytest
from mistakes import SPACE, error_of, load

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.config.task.model import ModelConfig

TOFU = "data: {name: tofu}"


def test_text_brings_its_own_model_and_forget_set() -> None:
    run = RunConfig.model_validate({"data": {"name": "tofu"}})
    assert isinstance(run.model, LanguageModelConfig)
    assert run.forget.kind == "split"
    images = RunConfig.model_validate({"model": {"channels_last": False}})
    assert isinstance(images.model, ModelConfig)
    assert images.forget.kind == "class"


@pytest.mark.parametrize(
    ("document", "epochs", "rate"),
    [
        ({}, 50, 1e-3),  # from random weights
        ({"model": {"name": "a/checkpoint"}}, 5, 1e-5),
        ({"model": {"name": "a/checkpoint", "lora": {}}, "training": {"parameters": "lora"}}, 5, 1e-4),
        ({"model": {"name": "a/checkpoint"}, "training": {"epochs": 2}}, 2, 1e-5),
    ],
)
def test_texts_train_as_texts_do_unless_told_otherwise(
    document: dict[str, Any], epochs: int, rate: float
) -> None:
    run = RunConfig.model_validate({"data": {"name": "tofu"}, **document})
    assert (run.batch.retain, run.batch.forget, run.training.batch_size) == (32, 32, 32)
    assert run.evaluation.batch_size == 32
    assert (run.training.epochs, run.training.optimizer.learning_rate) == (epochs, rate)
    assert run.training.optimizer.name == "adamw"
    images = RunConfig.model_validate({})
    assert (images.batch.retain, images.training.batch_size) == (5000, 5000)


def test_keys_of_an_adapter_can_vary(tmp_path: Path) -> None:
    text = f"{TOFU}\nmodel: {{lora: {{rank: 2}}}}\nspace: {{model.lora.rank: {{grid: [2, 4]}}}}"
    config = load(tmp_path, text)
    ranks = [config.resolve(cell).model.lora.rank for cell in config.cells()]  # type: ignore[union-attr]
    assert ranks == [2, 4]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: {channels_last: true}", "model.channels_last: unknown key where task is language; known:"),
        ("model: {lora: {rnk: 3}}", "model.lora.rnk: unknown key; did you mean rank?"),
        ("model: {task: vision}", "model.task: must match the data's task (language); remove it"),
        ("model: {heads: 3}", "model: hidden_size: must be a multiple of 2 x heads (6), found 128"),
        ("model: {vocabulary: 5}", "model.vocabulary: expected a number of at least 300, found 5"),
        ("model: {lora: {target_modules: ['']}}", "model.lora.target_modules: an empty name matches"),
        ("forget: {kind: class}", "forget.kind: tofu data do not support kind class; use split or random"),
        (
            "training: {parameters: lora}",
            "training.parameters: lora needs model.lora of a language model; add it or use all",
        ),
        (
            "training: {parameters: lora}\nmodel: {lora: {}}",
            "training.parameters: small-llama starts from random weights, so adapters are not enough",
        ),
    ],
)
def test_what_does_not_fit_text(tmp_path: Path, text: str, line: str) -> None:
    message = error_of(tmp_path, f"{TOFU}\n{text}\n{SPACE}\n")
    assert message.replace("model.hidden_size", "model: hidden_size").startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "data: {name: tofu, layout: locuslab, duplicates: exact}",
            "data.duplicates: not available in the locuslab layout",
        ),
        ("data: {name: tofu, prompt: 'Say:'}", "data.prompt: must contain {question}, found 'Say:'"),
        (
            "data: {name: text, path: x, question_column: null, template: chat}",
            "data.template: chat needs a question_column; use plain",
        ),
        ("data: {name: text}", "data.path: missing; add it"),
        (
            "forget: {kind: split}",
            "forget.kind: digits data do not support kind split; use class or random",
        ),
        ("training: {parameters: lora}", "training.parameters: lora needs model.lora of a language model"),
    ],
)
def test_what_does_not_fit_a_data_set(tmp_path: Path, text: str, line: str) -> None:
    assert error_of(tmp_path, f"{text}\n{SPACE}\n").startswith(line)
