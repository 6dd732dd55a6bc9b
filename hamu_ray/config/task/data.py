"""The data sets and forget sets of all tasks, and the corresponding model sections."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Field

from hamu_ray.config.schema import Section
from hamu_ray.config.task.corpora import MuseData, WmdpData
from hamu_ray.config.task.custom import CustomData, CustomModelConfig
from hamu_ray.config.task.forget import ForgetFiles, ForgetIds, ForgetIndices, ForgetRandom, ForgetWhere
from hamu_ray.config.task.language import ForgetSplit, TextData, TofuData
from hamu_ray.config.task.language_model import EMBEDDED, LanguageModelConfig
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import AnyImages, DigitsData, ForgetClass
from hamu_ray.config.training import TrainingConfig

AnyTexts = TofuData | TextData | MuseData | WmdpData
AnyData = Annotated[AnyImages | AnyTexts | CustomData, Field(discriminator="name")]
AnyForget = Annotated[
    ForgetClass | ForgetSplit | ForgetRandom | ForgetIndices | ForgetWhere | ForgetIds | ForgetFiles,
    Field(discriminator="kind"),
]
AnyModel = Annotated[ModelConfig | LanguageModelConfig | CustomModelConfig, Field(discriminator="task")]

TASK_BY_DATA = {
    section.model_fields["name"].default: section.task for section in get_args(get_args(AnyData)[0])
}
"""Maps data set names to tasks."""


LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "forget": {"kind": ForgetSplit().kind},
    "batch": {"retain": 32, "forget": 32},
    "training": {"batch_size": 32},
    "evaluation": {"batch_size": 32},
}
"""Defaults of the language task; the schema's own defaults are those of images."""

CUSTOM: Mapping[str, Mapping[str, Any]] = {
    "forget": {"kind": ForgetSplit().kind},
    "batch": {"retain": 128, "forget": 128},
    "training": {"batch_size": 128, "select": "last"},
    "workers": {"count": 1},
}
"""Defaults of custom tasks, which need not have an accuracy to select an epoch by."""

FINE_TUNING: Mapping[str, Mapping[str, Any]] = {
    "all": {"epochs": 5, "optimizer": {"learning_rate": 1e-5}},
    "lora": {"epochs": 5, "optimizer": {"learning_rate": 1e-4}},
}
"""Defaults for training checkpoints of `transformers`, by trained parameters: as in TOFU (arXiv 2401.06121)."""


def with_the_task(document: Any) -> Any:
    """Return a run's document with the task, which follows from the data, in its model section.

    Missing values become the defaults of the task: for text data and custom tasks the forget set is the data set's
    forget split, and batches are small. A document with unknown data is returned unchanged; validation reports it.
    """
    if not isinstance(document, dict):
        return document
    data = document.get("data", DigitsData())
    task = data.task if isinstance(data, Section) else None  # type: ignore[attr-defined]
    if isinstance(data, dict) and isinstance(data.get("name"), str):
        task = TASK_BY_DATA.get(data["name"])
    given = document.get("model", {})
    if task is None or not isinstance(given, dict):
        return document
    document = {**document, "model": {"task": task, **given}}
    return _with_defaults(document, task_defaults(task, document))


def task_defaults(task: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a run of a task, as far as they differ from the schema's."""
    of_task = {"language": LANGUAGE, "custom": CUSTOM}.get(task, {})
    defaults: dict[str, Any] = {name: dict(section) for name, section in of_task.items()}
    if task == "language":
        defaults["training"] |= _fine_tuning(document)
    if "forget" in document and "forget" in defaults:
        del defaults["forget"]  # its keys depend on its kind
    return defaults


def _fine_tuning(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the defaults for fine-tuning the checkpoint of a document; empty for a built-in model."""
    training = document.get("training")
    parameters = training.get("parameters", "all") if isinstance(training, dict) else "all"
    if document["model"].get("name", EMBEDDED) == EMBEDDED or parameters not in FINE_TUNING:
        return {}
    return FINE_TUNING[parameters]


def _with_defaults(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with missing values replaced by defaults; sections are filled in key by key."""
    filled = dict(document)
    for key, value in defaults.items():
        given = filled.setdefault(key, value)
        if isinstance(value, Mapping) and isinstance(given, dict):
            filled[key] = _with_defaults(given, value)
    return filled


def check_task(data: AnyData, forget: AnyForget, model: AnyModel, training: TrainingConfig) -> None:
    """Check that forget set, model and training belong to the task of the data.

    Raises `ValueError` that names the key.
    """
    if model.task != data.task:
        raise ValueError(f"model.task: must match the data's task ({data.task}); remove it")
    if data.task == "custom" and training.select == "best":
        raise ValueError(
            "training.select: best needs accuracies, which custom tasks need not have; take last"
        )
    if forget.kind not in data.forget_kinds:
        kinds = " or ".join(data.forget_kinds)
        raise ValueError(f"forget.kind: {data.name} data do not support kind {forget.kind}; use {kinds}")
    if training.augment is not None and data.task != "vision":
        raise ValueError("training.augment: only images can be cropped and flipped; remove it")
    if training.parameters == "all":
        return
    if not isinstance(model, LanguageModelConfig) or model.lora is None:
        raise ValueError("training.parameters: lora needs model.lora of a language model; add it or use all")
    if model.embedded:
        raise ValueError(
            f"training.parameters: {model.name} starts from random weights, so adapters are not enough; "
            "use all"
        )
