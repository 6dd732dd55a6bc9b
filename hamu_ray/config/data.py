"""The data sets and forget sets of all tasks, and the model sections that go with them."""

from typing import Annotated, Any

from pydantic import Field

from hamu_ray.config.language import ForgetSplit, LanguageModelConfig, TextData, TofuData
from hamu_ray.config.model import ModelConfig
from hamu_ray.config.schema import Section
from hamu_ray.config.vision import (
    Cifar10Data,
    DigitsData,
    ForgetClass,
    ForgetIndices,
    ForgetRandom,
    ImagesData,
)

AnyData = Annotated[DigitsData | ImagesData | Cifar10Data | TofuData | TextData, Field(discriminator="name")]
AnyForget = Annotated[ForgetClass | ForgetRandom | ForgetIndices | ForgetSplit, Field(discriminator="kind")]
AnyModel = Annotated[ModelConfig | LanguageModelConfig, Field(discriminator="task")]

TASK_BY_DATA = {
    section.model_fields["name"].default: section.task
    for section in (DigitsData, ImagesData, Cifar10Data, TofuData, TextData)
}
"""Names of data sets to their tasks."""


def with_the_task(document: Any) -> Any:
    """Return a run's document with the task written into its model section: the data decide on it.

    A forget set that is not given becomes, for text, the split that the data set has for it. A document whose
    data are unknown stays as it is, for the schema to say so.
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
    if task == "language" and "forget" not in document:
        document["forget"] = {"kind": ForgetSplit().kind}
    return document


def check_task(data: AnyData, forget: AnyForget, model: AnyModel, parameters: str) -> None:
    """Check that forget set, model and trained parameters are of the task that the data decide on.

    Raises `ValueError` that names the key.
    """
    if model.task != data.task:
        raise ValueError(f"model.task: the data are of the {data.task} task; leave it out")
    if forget.kind not in data.forget_kinds:
        kinds = " or ".join(data.forget_kinds)
        raise ValueError(f"forget.kind: {data.name} data have no forget set by {forget.kind}; take {kinds}")
    if parameters == "all":
        return
    if not isinstance(model, LanguageModelConfig) or model.lora is None:
        raise ValueError(
            "training.parameters: lora needs a model.lora of a language model; give it or take all"
        )
    if model.embedded:
        raise ValueError(
            f"training.parameters: {model.name} begins with random weights, which adapters cannot make up for; "
            "take all"
        )
